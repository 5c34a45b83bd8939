-- Say of several dead sets how many messages each holds, and when the oldest died. Writes nothing.
--
-- KEYS[1..n]  dead  zset  id -> died, ms; on Cluster only one
-- Returns {count, died, count, died, ...}, a pair for each in order; died is 0 for an empty one.
-- O(n).
local answers = {}
for i, key in ipairs(KEYS) do
  answers[2 * i - 1] = redis.call('ZCARD', key)
  answers[2 * i] = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or '0'
end
return answers
