-- Count the messages of a queue: those that a consumer would get now, and those that it would not yet.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13..16] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     limit   int     most messages to promote, and to reap, before counting
-- ARGV[2]     name    text    of the queue
-- ARGV[3]     kind    text    'tasks' or 'data'
-- ARGV[4]     poison  int     crashes after which a message is buried; 0: never
-- ARGV[5]     keep    int     failed messages of one queue to keep; 0: none
-- Returns {available, invisible}: scheduled and leased messages whose instant has not come are invisible. Reaping first
-- makes it exact: some ended leases are followed by a delivery, others by none.
-- O(limit * log(leased)).
-- Needs: now, queue, check, header, tally, counts, wake, publish, head, index, bury, promote, end_lease, reap
local q = queue_at(1)
local limit, name = tonumber(ARGV[1]), ARGV[2]
local now = now_ms()
local moved = promote(q, now, limit)
moved = moved + reap(q, now, limit, {kind = ARGV[3], poison = tonumber(ARGV[4]), keep = tonumber(ARGV[5])})
local available, invisible = redis.call('LLEN', q.ready), 0
for _, key in ipairs({q.scheduled, q.leased}) do
  local come = redis.call('ZCOUNT', key, '-inf', now)
  available, invisible = available + come, invisible + redis.call('ZCARD', key) - come
end
if moved > 0 then
  local _, ready = reindex(q, name, 13)
  if ready then
    wake_workers(q, name, KEYS[16])
  end
end
return {available, invisible}
