-- Put buried messages back into their queue as if they were new: counters begin again, the token goes on.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13..16] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     name    text    of the queue
-- ARGV[2]     grave   text    'dead', 'lost' or 'failed'
-- ARGV[3]     limit   int     most messages to move, 1..1000; counts only when no ids are given
-- ARGV[4..n]  ids     text    which ones; none: the oldest
-- Returns the ids that went back. Sent twice with ids, it moves each once.
-- O(moved * log(buried)).
-- Needs: queue, check, tally, counts, wake, head, index
local q = queue_at(1)
local name, grave, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ids, moved = {}, {}
check(q, true)
for i = 4, #ARGV do ids[#ids + 1] = ARGV[i] end
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
  reindex(q, name, 13)
  wake_workers(q, name, KEYS[16])
end
return moved
