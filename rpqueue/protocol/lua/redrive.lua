-- Put buried messages back into their queue as if they were new: counters begin again, the token goes on.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- KEYS[14..17] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2]     name    text    of the queue
-- ARGV[3]     grave   text    'dead', 'lost' or 'failed'
-- ARGV[4]     limit   int     most messages to move, 1..1000; counts only when no ids are given
-- ARGV[5..n]  ids     text    which ones; none: the oldest
-- Returns the ids that went back.
-- O(moved * log(buried)).
-- Needs: queue, check, memo, tally, counts, wake, head, index
local q, memo = queue_at(1), KEYS[13]
local number, name, grave, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local moved = recall(memo, number)
if moved then return moved end
check(q, true)
local ids = {}
moved = {}
for i = 5, #ARGV do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then ids = redis.call('ZRANGE', q[grave], 0, limit - 1) end
for _, id in ipairs(ids) do
  if redis.call('ZREM', q[grave], id) == 1 then
    local counts = counts_of(q, id)
    write_counts(q, id, {fence = counts.fence, failures = 0, crashes = 0, interruptions = 0})
    redis.call('HDEL', q.errors, id)
    redis.call('RPUSH', q.ready, id)
    moved[#moved + 1] = id
  end
end
if #moved > 0 then
  redis.pcall('HINCRBY', q.stats, 'redriven', #moved)
  reindex(q, name, 14)
  wake_workers(q, name, KEYS[17])
  remember(memo, number, moved)
end
return moved
