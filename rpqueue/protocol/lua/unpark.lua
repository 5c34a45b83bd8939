-- Put parked messages back at the head of their queue.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- KEYS[14..17] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2]     name    text    of the queue
-- ARGV[3..n]  ids     text    of parked messages
-- Returns how many went back.
-- O(ids).
-- Needs: queue, check, memo, wake, head, index
local q, memo = queue_at(1), KEYS[13]
local number, name, moved = ARGV[1], ARGV[2], 0
local done = recall(memo, number)
if done then return done end
check(q, true)
-- Last one first: each goes to the head, so the first ends up in front.
for i = #ARGV, 3, -1 do
  if redis.call('HDEL', q.parked, ARGV[i]) == 1 then
    redis.call('LPUSH', q.ready, ARGV[i])
    moved = moved + 1
  end
end
if moved > 0 then
  reindex(q, name, 14)
  wake_workers(q, name, KEYS[17])
  remember(memo, number, moved)
end
return moved
