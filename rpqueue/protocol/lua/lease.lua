-- Lease, take for good, or only look at up to `wanted` ready messages of a queue.
--
-- KEYS[1..12] queue      see QueueKeys.block
-- KEYS[13]    memo       string  this session's last call
-- KEYS[14..17] index     queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     number     int     of this call in its session
-- ARGV[2]     wanted     int     0..1000; 0 only promotes and reaps
-- ARGV[3]     lease_for  int     ms; 0 takes the messages for good; below 0 leaves them where they are
-- ARGV[4]     limit      int     most messages to promote, and to reap, in this call
-- ARGV[5]     leaving    0|1     1: the caller will not wait after this call
-- ARGV[6]     name       text    of the queue; it and what follows may be left out for a data queue
-- ARGV[7]     kind       text    'tasks' or 'data'
-- ARGV[8]     poison     int     crashes after which a message is buried; 0: never
-- ARGV[9]     keep       int     failed messages of one queue to keep; 0: none
-- Returns {now, items, due}: items as {id, token, message, tries}, oldest first, under token 0 when only looked at, tries
-- (deliveries that failed or crashed before) left out when 0; due the next instant (ms) at which something becomes ready by
-- itself, or 0.
-- O((wanted + limit) * log(leased)).
-- Needs: now, queue, memo, header, counts, wake, publish, index, bury, promote, end_lease, reap, ack, claim
local q, memo = queue_at(1), KEYS[13]
local number, wanted, lease_for, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local leaving, name, kind = ARGV[5] == '1', ARGV[6] or '', ARGV[7] or 'data'
local rules = {kind = kind, poison = tonumber(ARGV[8] or 0), keep = tonumber(ARGV[9] or 0)}
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
  reap(q, now, limit, rules)
  items = {}
  if wanted > 0 and lease_for < 0 then
    local ids = redis.call('LRANGE', q.ready, 0, wanted - 1)
    local messages = #ids > 0 and redis.call('HMGET', q.messages, unpack(ids))
    for i, id in ipairs(ids) do
      if messages[i] then items[#items + 1] = {id, 0, messages[i]} end
    end
  elseif wanted > 0 then
    items = claim(q, wanted, now, math.max(lease_for, 1), false)
  end
  if #items > 0 and lease_for >= 0 then
    redis.call('HINCRBY', q.stats, 'claimed', #items)
    local leases, ids, tokens = {}, {}, {}
    for i, item in ipairs(items) do
      leases[i], ids[i], tokens[i] = {item[1], item[2]}, item[1], item[2]
    end
    if lease_for == 0 then ack(q, ids, tokens) end
    remember(memo, number, lease_for == 0 and items or leases)
    if kind == 'tasks' then
      for _, item in ipairs(items) do
        local _, _, _, flags = header_of(item[3])
        if flags and has(flags, WATCHED) then publish(q, item[1], lease_for == 0 and 'done' or 'started') end
      end
      if lease_for == 0 then publish(q, '', 'done ' .. #items) end
    end
  end
end
local due, ready = reindex(q, name, 14)
if ready then
  if KEYS[17] then wake(KEYS[17], name) end
  wake(q.wake, '')
elseif due and due < now + 2000 and (#items > 0 or leaving) then
  -- Who goes passes on the watch over what is due soon. Those who wait look again every 2 s, by themselves.
  wake(q.wake, '')
end
return {now, items, due or 0}
