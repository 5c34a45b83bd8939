-- What some keys hold, and for how long. Writes nothing.
--
-- KEYS[1..n]  keys    any    on Cluster those of one slot
-- Returns {type, ttl} for each in order: the type is Redis's word, 'none' when the key is gone; ttl in ms, -1 when it has none.
-- O(keys).
local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = {redis.call('TYPE', key).ok, redis.call('PTTL', key)}
end
return answers
