-- Scheduled -> ready before it is due, earliest first.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13..16] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     name    text    of the queue
-- ARGV[2]     limit   int     most messages to move, 1..1000
-- Returns how many were moved. Sent twice, the second call moves the next ones.
-- O(moved * log(scheduled)).
-- Needs: queue, check, wake, head, index
local q = queue_at(1)
local name, limit = ARGV[1], tonumber(ARGV[2])
local ids = redis.call('ZRANGE', q.scheduled, 0, limit - 1)
check(q, true)
if #ids > 0 then
  redis.call('ZREM', q.scheduled, unpack(ids))
  redis.call('RPUSH', q.ready, unpack(ids))
  reindex(q, name, 13)
  wake_workers(q, name, KEYS[16])
end
return #ids
