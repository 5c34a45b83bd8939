-- Put new items into the dead set of a data queue, as if they had been given up.
--
-- KEYS[1..12] queue        see QueueKeys.block
-- KEYS[13]    memo         string  this session's last call
-- KEYS[14]    data_queues  zset    known data queues; left out on Cluster
-- ARGV[1]     number       int     of this call in its session
-- ARGV[2]     name         text    of the queue
-- ARGV[3]     tail         text    of the header: see header_tail()
-- ARGV[4]     reason       text    one word
-- ARGV[5..n]  items        id, body, id, body, ...
-- Returns now (ms). Items of one call keep their order when their ids are sorted.
-- O(items * log(dead)). Begins with a growing write: refused whole at maxmemory.
-- Needs: now, queue, check, memo, publish
local q, memo = queue_at(1), KEYS[13]
local number, name, tail, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local done = recall(memo, number)
if done then return done end
check(q, true)
local now = now_ms()
local header, last = string.format('1 %.0f', now) .. tail .. '|', string.format('%s %.0f|', reason, now)
local fields, lasts, scores = {}, {}, {}
for i = 5, #ARGV, 2 do
  local id, body = ARGV[i], ARGV[i + 1]
  fields[#fields + 1] = id
  fields[#fields + 1] = header .. body
  lasts[#lasts + 1] = id
  lasts[#lasts + 1] = last
  scores[#scores + 1] = now
  scores[#scores + 1] = id
end
redis.call('HSET', q.messages, unpack(fields))
redis.call('HSET', q.errors, unpack(lasts))
redis.call('ZADD', q.dead, unpack(scores))
redis.pcall('HINCRBY', q.stats, 'seen', #scores / 2)
redis.pcall('HINCRBY', q.stats, 'dead', #scores / 2)
publish(q, '', 'dead ' .. #scores / 2)
if KEYS[14] then redis.pcall('ZADD', KEYS[14], 0, name) end
remember(memo, number, now)
return now
