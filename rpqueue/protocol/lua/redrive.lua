-- Put buried messages back into their queue as if they were new: counters begin again, the token goes on. What is remembered
-- of their failed runs stays.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- KEYS[14..17] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2]     name    text    of the queue
-- ARGV[3]     grave   text    'dead', 'lost' or 'failed'; or 'any' of them
-- ARGV[4]     limit   int     most messages to move, 1..1000; counts only when no ids are given
-- ARGV[5]     delay   number  ms until the first of them is due; counts only with a step
-- ARGV[6]     step    number  ms from one to the next; 0: all are ready at once
-- ARGV[7..n]  ids     text    which ones; none: the oldest of each grave
-- Returns the ids that went back, in the order in which they will start.
-- O(moved * log(buried)). Begins with a freeing write: works at maxmemory.
-- Needs: now, queue, check, memo, tally, counts, wake, head, index
local q, memo = queue_at(1), KEYS[13]
local number, name, limit, delay, step = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local graves = ARGV[3] == 'any' and {'dead', 'lost', 'failed'} or {ARGV[3]}
local moved = recall(memo, number)
if moved then return moved end
check(q, true)
local first, ids = now_ms() + delay, {}
moved = {}

local function move(grave, id)
  if redis.call('ZREM', q[grave], id) == 0 then return end
  local counts = counts_of(q, id)
  write_counts(q, id, {fence = counts.fence, failures = 0, crashes = 0, interruptions = 0})
  if step > 0 then
    redis.call('ZADD', q.scheduled, string.format('%.3f', first + #moved * step), id)
  else
    redis.call('RPUSH', q.ready, id)
  end
  moved[#moved + 1] = id
end

for i = 7, #ARGV do ids[#ids + 1] = ARGV[i] end
for _, grave in ipairs(graves) do
  local those = ids
  if #ids == 0 and #moved < limit then those = redis.call('ZRANGE', q[grave], 0, limit - #moved - 1) end
  for _, id in ipairs(those) do move(grave, id) end
end
if #moved > 0 then
  redis.pcall('HINCRBY', q.stats, 'redriven', #moved)
  reindex(q, name, 14)
  wake_workers(q, name, KEYS[17])
  remember(memo, number, moved)
end
return moved
