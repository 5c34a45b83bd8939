-- Put parked messages back at the head of their queue.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13..16] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster
-- ARGV[1]     name    text    of the queue
-- ARGV[2..n]  ids     text    of parked messages
-- Returns how many went back. Sent twice, it moves each once.
-- O(ids).
-- Needs: queue, check, wake, head, index
local q = queue_at(1)
local name, moved = ARGV[1], 0
check(q, true)
-- Last one first: each goes to the head, so the first ends up in front.
for i = #ARGV, 2, -1 do
  if redis.call('HDEL', q.parked, ARGV[i]) == 1 then
    redis.call('LPUSH', q.ready, ARGV[i])
    moved = moved + 1
  end
end
if moved > 0 then
  reindex(q, name, 13)
  wake_workers(q, name, KEYS[16])
end
return moved
