-- Enqueue a recurring task for one slot, if nobody did so yet: compare-and-set on the schedule's next slot.
--
-- KEYS[1..12] queue      see QueueKeys.block
-- KEYS[13]    schedules  hash    schedule name -> next slot, ms; "\1" .. name -> id of its last message
-- KEYS[14..17] index     queues, ready_queues, due_queues, wake of the app; left out on Cluster
-- ARGV[1]     name       text    of the queue
-- ARGV[2]     schedule   text    its name
-- ARGV[3]     slot       int     ms, as the caller read it; empty: the schedule has none yet
-- ARGV[4]     next       int     ms, the slot after that
-- ARGV[5]     id         text    of the message; empty: only set the next slot
-- ARGV[6]     tail       text    of the header: see header_tail()
-- ARGV[7]     body       JSON
-- ARGV[8]     early      0|1     1: fire even if the slot has not come
-- ARGV[9]     overlap    text    'allow'; 'queue_one': enqueue nothing while the last message still waits to be claimed;
--                                'skip': nor while it runs, or is to run again
-- ARGV[10]    delay      int     ms until the message is due; 0: ready now
-- Returns {fired, stored, now}: fired 1 when this call won the slot, else 0; stored the next slot that now holds (ms).
-- O(1). Sent twice, the second call finds the slot moved and fires nothing.
-- Needs: now, queue, check, wake, head, index
local q, schedules = queue_at(1), KEYS[13]
local name, schedule, slot, next_slot, id, tail, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local overlap, delay = ARGV[9], tonumber(ARGV[10])
local now = now_ms()
local stored = redis.call('HGET', schedules, schedule) or ''
if stored ~= slot or (slot ~= '' and ARGV[8] ~= '1' and tonumber(slot) > now) then return {0, stored, now} end
check(q, true)
redis.call('HSET', schedules, schedule, next_slot)
if id == '' then return {1, next_slot, now} end
local last = redis.call('HGET', schedules, '\1' .. schedule)
if overlap ~= 'allow' and last and redis.call('HEXISTS', q.messages, last) == 1 then
  local is_over = overlap == 'queue_one' and redis.call('ZSCORE', q.leased, last)
  for _, grave in ipairs({'dead', 'lost', 'failed'}) do
    is_over = is_over or redis.call('ZSCORE', q[grave], last)
  end
  if not is_over then return {1, next_slot, now} end
end
redis.call('HSET', schedules, '\1' .. schedule, id)
if redis.call('HSETNX', q.messages, id, string.format('1 %.0f', now + delay) .. tail .. '|' .. body) == 1 then
  redis.call('HSET', q.counts, id, string.format('%.0f 0 0 0', now))
  if delay > 0 then
    redis.call('ZADD', q.scheduled, now + delay, id)
  else
    redis.call('RPUSH', q.ready, id)
  end
  redis.pcall('HINCRBY', q.stats, 'seen', 1)
  reindex(q, name, 14)
  wake_workers(q, name, KEYS[17])
end
return {1, next_slot, now}
