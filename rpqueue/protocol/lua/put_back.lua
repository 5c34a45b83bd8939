-- Put messages back where they were taken from for good, as they were: their taker went away before it had them.
--
-- KEYS[1..12] queue     see QueueKeys.block
-- KEYS[13]    memo      string  this session's last call
-- KEYS[14..17] index    queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     number    int     of this call in its session
-- ARGV[2]     name      text    of the queue
-- ARGV[3]     place     text    'ready': at the head; or 'scheduled', 'dead', 'lost', 'failed'
-- ARGV[4..n]  messages  id, message, counts, at, last, ... in the order of the queue: what stood in `counts` or an empty
--                       text, the instant (ms) at which it was buried or is due, what stood in `errors` or an empty text
-- Returns the ids that are back, in order; an id that the queue holds again by now is left out.
-- O(messages * log(buried)). Begins with a freeing write: works at maxmemory, where what it brings was a moment ago.
-- Needs: queue, check, memo, wake, head, index
local q, memo = queue_at(1), KEYS[13]
local number, name, place = ARGV[1], ARGV[2], ARGV[3]
local back = recall(memo, number)
if back then return back end
check(q, true)
-- The call before got its answer. Begins with a freeing write.
redis.call('DEL', memo)
back = {}
-- Last one first: each goes to the head, so the first ends up in front.
for i = #ARGV - 4, 4, -5 do
  local id, message, counts, at, last = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if redis.call('HSETNX', q.messages, id, message) == 1 then
    if place == 'ready' then
      redis.call('LPUSH', q.ready, id)
    else
      redis.call('ZADD', q[place], at, id)
    end
    if counts ~= '' then redis.call('HSET', q.counts, id, counts) end
    if last ~= '' then redis.call('HSET', q.errors, id, last) end
    table.insert(back, 1, id)
  end
end
if #back > 0 then
  local waits = place == 'ready' or place == 'scheduled'
  redis.pcall('HINCRBY', q.stats, waits and 'done' or 'purged', -#back)
  if waits then
    reindex(q, name, 14)
    wake_workers(q, name, KEYS[17])
  end
  remember(memo, number, back)
end
return back
