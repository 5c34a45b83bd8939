-- The messages that were buried first, over several queues. Writes nothing.
--
-- KEYS[1..n]  graves  zset  one of each queue; on Cluster, of one queue
-- ARGV[1]     limit   int   most messages to return
-- Returns {number of the grave, id, at (ms, text)}, ..., oldest first.
-- O(graves + found * log(found)), where each grave gives at most `limit`.
local limit = tonumber(ARGV[1])
local found = {}
for n, grave in ipairs(KEYS) do
  local pairs = redis.call('ZRANGE', grave, 0, limit - 1, 'WITHSCORES')
  for i = 1, #pairs, 2 do
    found[#found + 1] = {n, pairs[i], pairs[i + 1], tonumber(pairs[i + 1]), i}
  end
end
table.sort(found, function(a, b)
  if a[4] ~= b[4] then return a[4] < b[4] end
  if a[1] ~= b[1] then return a[1] < b[1] end
  return a[5] < b[5]
end)
local answer = {}
for i = 1, math.min(limit, #found) do answer[i] = {found[i][1], found[i][2], found[i][3]} end
return answer
