-- Set, or remove, the priority of a task queue.
--
-- KEYS[1]  queues        zset  known task queues and their priorities
-- KEYS[2]  ready_queues  zset  those with ready messages
-- ARGV[1]  name          text  of the queue
-- ARGV[2]  priority      float  lower goes first; 'inf': it has none any more
-- Returns 1 when the queue is known now, else 0: removing a priority does not make an unknown queue known.
-- O(log(queues)). Sent twice, it sets the same twice.
local queues, ready_queues, name, priority = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if priority == 'inf' then
  redis.call('ZADD', queues, 'XX', priority, name)
else
  redis.call('ZADD', queues, priority, name)
end
redis.call('ZADD', ready_queues, 'XX', priority, name)
return redis.call('ZSCORE', queues, name) and 1 or 0
