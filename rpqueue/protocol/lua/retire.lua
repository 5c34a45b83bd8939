-- Delete messages of one queue that were given up long ago, and those beyond as many as are to be kept; the oldest first.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2]     limit   int     most messages to delete, 1..1000
-- ARGV[3..8]  bounds  int     ttl (ms; 0: for ever) and keep (-1: however many) of dead, then of lost, then of failed
-- Returns {dead, lost, failed, left}: how many of each were deleted, and how many are still to go.
-- O(deleted * log(buried)). Begins with a freeing write: works at maxmemory.
-- Needs: now, queue, check, memo, overdue
local q, memo = queue_at(1), KEYS[13]
local number, limit = ARGV[1], tonumber(ARGV[2])
local answer = recall(memo, number)
if answer then return answer end
check(q, true)
local now, total = now_ms(), 0
answer = {0, 0, 0, 0}
for i, grave in ipairs({'dead', 'lost', 'failed'}) do
  local count = overdue(q[grave], now, tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2]))
  local some = math.min(count, limit - total)
  if some > 0 then
    local ids = redis.call('ZRANGE', q[grave], 0, some - 1)
    redis.call('ZREM', q[grave], unpack(ids))
    redis.call('HDEL', q.messages, unpack(ids))
    redis.call('HDEL', q.counts, unpack(ids))
    redis.call('HDEL', q.errors, unpack(ids))
  end
  answer[i], answer[4], total = some, answer[4] + count - some, total + some
end
if total > 0 then
  -- pcall: at maxmemory it must still work, even if it cannot be counted.
  redis.pcall('HINCRBY', q.stats, 'retired', total)
  remember(memo, number, answer)
end
return answer
