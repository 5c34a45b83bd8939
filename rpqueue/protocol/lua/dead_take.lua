-- Remove messages from the dead set of one queue: they are the caller's, and gone from Redis.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2..n]  dead    id, died, ...: died (ms) as dead_peek told it
-- Returns the ids that were removed, in order. One that was taken, redriven or died again since then is left alone.
-- O(ids * log(dead)). Begins with a freeing write: works at maxmemory.
-- Needs: queue, memo
local q, memo = queue_at(1), KEYS[13]
local number = ARGV[1]
local taken = recall(memo, number)
if taken then return taken end
taken = {}
for i = 2, #ARGV, 2 do
  local id, died = ARGV[i], tonumber(ARGV[i + 1])
  local score = redis.call('ZSCORE', q.dead, id)
  if score and tonumber(score) == died then
    redis.call('ZREM', q.dead, id)
    redis.call('HDEL', q.messages, id)
    redis.call('HDEL', q.counts, id)
    redis.call('HDEL', q.errors, id)
    taken[#taken + 1] = id
  end
end
if #taken > 0 then remember(memo, number, taken) end
return taken
