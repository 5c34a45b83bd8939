-- Make the app's index true of one task queue, and list the queue.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13..16] index  queues, ready_queues, due_queues, wake of the app
-- ARGV[1]     name    text    of the queue
-- Returns 1.
-- O(1). Sending it twice does no harm.
-- Needs: queue, wake, head, index
local q, name = queue_at(1), ARGV[1]
redis.call('ZADD', KEYS[13], 'NX', 'inf', name)
local _, ready = reindex(q, name, 13)
if ready then
  wake(KEYS[16], name)
  wake(q.wake, name)
end
return 1
