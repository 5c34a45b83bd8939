-- Delete buried messages for good.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2]     grave   text    'dead', 'lost' or 'failed'
-- ARGV[3]     limit   int     most messages to delete, 1..1000; counts only when no ids are given
-- ARGV[4]     before  int     instant (ms) before which they were buried; 0: whenever that was. Counts only without ids
-- ARGV[5..n]  ids     text    which ones; none: the oldest
-- Returns the ids that were deleted, in order.
-- O(deleted * log(buried)). Begins with a freeing write: works at maxmemory.
-- Needs: queue, check, memo
local q, memo = queue_at(1), KEYS[13]
local number, grave, limit, before = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local deleted = recall(memo, number)
if deleted then return deleted end
check(q, true)
local ids = {}
for i = 5, #ARGV do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then
  local last = before == '0' and '+inf' or '(' .. before
  ids = redis.call('ZRANGEBYSCORE', q[grave], '-inf', last, 'LIMIT', 0, limit)
end
deleted = {}
for _, id in ipairs(ids) do
  if redis.call('ZREM', q[grave], id) == 1 then
    redis.call('HDEL', q.messages, id)
    redis.call('HDEL', q.counts, id)
    redis.call('HDEL', q.errors, id)
    deleted[#deleted + 1] = id
  end
end
if #deleted > 0 then
  -- pcall: at maxmemory it must still work, even if it cannot be counted.
  redis.pcall('HINCRBY', q.stats, 'purged', #deleted)
  remember(memo, number, deleted)
end
return deleted
