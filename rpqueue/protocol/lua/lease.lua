-- Lease, or take for good, up to `wanted` ready items of a data queue.
--
-- KEYS[1..12] queue      see QueueKeys.block
-- KEYS[13]    memo       string  this session's last call
-- ARGV[1]     number     int     of this call in its session
-- ARGV[2]     wanted     int     1..1000
-- ARGV[3]     lease_for  int     ms; 0 takes the items for good
-- ARGV[4]     limit      int     most items to promote, and to reap, in this call
-- Returns {now, items, due}: items as {id, token, message}, oldest first; due the next instant (ms) at which something
-- becomes ready by itself, or 0.
-- O((wanted + limit) * log(leased)).
-- Needs: now, queue, memo, header, counts, wake, publish, index, bury, promote, end_lease, reap, ack, claim
local q, memo = queue_at(1), KEYS[13]
local number, wanted, lease_for, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local items = recall(memo, number)
if items then
  if lease_for > 0 then
    -- Sent again: hand out once more what was leased then and is still held.
    local still = {}
    for _, item in ipairs(items) do
      if held(q, {item[1]}, {item[2]})[1] then
        still[#still + 1] = {item[1], item[2], redis.call('HGET', q.messages, item[1])}
      end
    end
    items = still
  end
else
  promote(q, now, limit)
  reap(q, now, limit, {kind = 'data', poison = 0, keep = 0})
  items = claim(q, wanted, now, math.max(lease_for, 1), false)
  if #items > 0 then
    redis.call('HINCRBY', q.stats, 'claimed', #items)
    if lease_for == 0 then
      local ids, tokens = {}, {}
      for i, item in ipairs(items) do ids[i], tokens[i] = item[1], item[2] end
      ack(q, ids, tokens)
      remember(memo, number, items)
    else
      local leases = {}
      for i, item in ipairs(items) do leases[i] = {item[1], item[2]} end
      remember(memo, number, leases)
    end
  end
end
local due = next_due(q)
if redis.call('EXISTS', q.ready) == 1 then wake(q.wake, '') end
return {now, items, due or 0}
