-- The ids of all messages of a queue that wait or run, at one instant. Writes nothing.
--
-- KEYS[1..12] queue      see QueueKeys.block
-- Returns {ready, scheduled, leased}: three lists of ids, each in order.
-- O(messages) on purpose: one that moves between two smaller calls would be missed by both.
-- Needs: queue
local q = queue_at(1)
return {
  redis.call('LRANGE', q.ready, 0, -1), redis.call('ZRANGE', q.scheduled, 0, -1), redis.call('ZRANGE', q.leased, 0, -1),
}
