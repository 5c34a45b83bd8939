-- In which of several queues a message is, or has left an outcome. Writes nothing.
--
-- KEYS[1..n]  places  messages (hash) and outcome of the message (string), a pair for every queue; on Cluster, of one queue
-- ARGV[1]     id      text
-- Returns the numbers of the queues that know it, in order; empty when none does.
-- O(queues).
local found = {}
for i = 1, #KEYS, 2 do
  if redis.call('HEXISTS', KEYS[i], ARGV[1]) == 1 or redis.call('EXISTS', KEYS[i + 1]) == 1 then
    found[#found + 1] = (i + 1) / 2
  end
end
return found
