-- Delete the messages of a queue that wait, run or are parked; what was buried stays. Then, if asked to, forget the queue.
--
-- KEYS[1..12] queue      see QueueKeys.block
-- KEYS[13]    memo       string  this session's last call
-- KEYS[14]    schedules  hash    of the queue
-- KEYS[15..n] index      queues, ready_queues, due_queues, wake of the app; for a data queue data_queues; none on Cluster
-- ARGV[1]     number     int     of this call in its session
-- ARGV[2]     name       text    of the queue
-- ARGV[3]     limit      int     most messages to delete in this call, 1..1000
-- ARGV[4]     forget     0|1     1: once the queue is empty, delete its graves, counters and schedules, and unlist it
-- Returns {deleted, left}: how many messages were deleted, and how many are left for further calls.
-- O(limit * log(n)). Begins with a freeing write: works at maxmemory. The ack of a message that was cleared is stale.
-- Needs: queue, check, memo, publish, head, index
local q, memo = queue_at(1), KEYS[13]
local number, name, limit, forget = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local answer = recall(memo, number)
if answer then return answer end
check(q, true)
-- The call before got its answer. Begins with a freeing write.
redis.call('DEL', memo)

local deleted = 0
local function drop(ids)
  if #ids > 0 then
    redis.call('HDEL', q.messages, unpack(ids))
    redis.call('HDEL', q.counts, unpack(ids))
    redis.call('HDEL', q.errors, unpack(ids))
    deleted = deleted + #ids
  end
end

local ready = redis.call('LRANGE', q.ready, 0, limit - 1)
if #ready > 0 then redis.call('LTRIM', q.ready, #ready, -1) end
drop(ready)
for _, place in ipairs({'scheduled', 'leased'}) do
  if deleted < limit then
    local ids = redis.call('ZRANGE', q[place], 0, limit - deleted - 1)
    if #ids > 0 then redis.call('ZREM', q[place], unpack(ids)) end
    drop(ids)
  end
end
if deleted < limit then
  -- A scan may return a few more than asked for, a small hash all that it has: hence 512 in a row.
  local cursor = '0'
  repeat
    local found = redis.call('HSCAN', q.parked, cursor, 'COUNT', math.min(limit - deleted, 512))
    local ids = {}
    cursor = found[1]
    for i = 1, #found[2], 2 do ids[#ids + 1] = found[2][i] end
    if #ids > 0 then redis.call('HDEL', q.parked, unpack(ids)) end
    drop(ids)
  until cursor == '0' or deleted >= limit
end

local left = redis.call('LLEN', q.ready) + redis.call('ZCARD', q.scheduled) + redis.call('ZCARD', q.leased)
  + redis.call('HLEN', q.parked)
if deleted > 0 then
  redis.pcall('HINCRBY', q.stats, 'cleared', deleted)
  publish(q, '', 'done ' .. deleted)
end
if forget and left == 0 then
  redis.call('UNLINK', q.messages, q.counts, q.errors, q.dead, q.lost, q.failed, q.stats, q.wake, KEYS[14])
  for i = 15, math.min(#KEYS, 17) do redis.call('ZREM', KEYS[i], name) end
elseif KEYS[18] then
  reindex(q, name, 15)
end
answer = {deleted, left}
if deleted > 0 then remember(memo, number, answer) end
return answer
