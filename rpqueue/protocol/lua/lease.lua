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
-- Returns {now, ids, messages, again, due}: what was got, oldest first, see pop(); due the next instant (ms) at which
-- something becomes ready by itself, or 0.
-- O((wanted + limit) * log(leased)).
-- Needs: now, queue, check, memo, header, tally, counts, held, wake, publish, head, index, bury, promote, end_lease, reap, ack, claim, still_held
local q, memo = queue_at(1), KEYS[13]
local number, wanted, lease_for, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local leaving, name, kind = ARGV[5] == '1', ARGV[6] or '', ARGV[7] or 'data'
local rules = {kind = kind, poison = tonumber(ARGV[8] or 0), keep = tonumber(ARGV[9] or 0)}
local now = now_ms()

-- The first ready messages, left where they are. As pop().
local function look()
  local ids, messages = {}, {}
  for page = 0, 99 do
    local some = redis.call('LRANGE', q.ready, page * wanted, (page + 1) * wanted - 1)
    if #some == 0 then break end
    local theirs = redis.call('HMGET', q.messages, unpack(some))
    some, theirs = present(some, theirs)
    for i = 1, math.min(#some, wanted - #ids) do ids[#ids + 1], messages[#messages + 1] = some[i], theirs[i] end
    if #ids == wanted then break end
  end
  return #ids > 0 and {ids, messages, {}} or nil
end

-- Tell those who wait for these tasks that they start, or are over.
local function tell(ids, messages)
  for i, message in ipairs(messages) do
    local _, _, _, flags = header_of(message)
    if flags and has(flags, WATCHED) then publish(q, ids[i], lease_for == 0 and 'done' or 'started') end
  end
  if lease_for == 0 then publish(q, '', 'done ' .. #ids) end
end

local got, due = recall(memo, number), nil
if got then
  -- Sent again: hand out once more what was taken then, or leased and is still held.
  if lease_for > 0 then got = still_held(q, got[1], got[2]) end
else
  local _, at = promote(q, now, limit)
  local _, expires = reap(q, now, limit, rules)
  due = earlier(at, expires) or false
  if wanted > 0 and lease_for < 0 then
    got = look()
  elseif wanted > 0 then
    if lease_for > 0 then
      local ends_at
      got, ends_at = claim(q, wanted, now, lease_for, false)
      due = earlier(due, ends_at)
    else
      got = pop(q, wanted, now)
    end
    if got then
      local ids, messages, again = unpack(got)
      redis.pcall('HINCRBY', q.stats, 'claimed', #ids)
      if lease_for == 0 then finish(q, ids) end
      remember(memo, number, lease_for == 0 and got or {ids, again})
      if kind == 'tasks' then tell(ids, messages) end
    end
  end
end

local ready
due, ready = reindex(q, name, 14, due)
if ready then
  wake_workers(q, name, KEYS[17])
elseif due and due < now + 2000 and (got or leaving) then
  -- Who goes passes on the watch over what is due soon. Those who wait look again every 2 s, by themselves.
  wake(q.wake, '', not KEYS[17])
end
got = got or {{}, {}, {}}
return {now, got[1], got[2], got[3], due or 0}
