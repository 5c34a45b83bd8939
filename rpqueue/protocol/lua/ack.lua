-- Finish leased messages: they are done and gone.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2..n]  leases  id, token, id, token, ...; an empty token acks whoever holds the lease
-- Returns the ids that were not held, in order; empty when all are done now.
-- O(leases * log(leased)). Begins with a freeing write: works at maxmemory.
-- Needs: queue, memo, held, ack
local q, memo = queue_at(1), KEYS[13]
local number = ARGV[1]
local late = recall(memo, number)
if late then return late end
local ids, tokens = {}, {}
for i = 2, #ARGV, 2 do
  ids[#ids + 1], tokens[#tokens + 1] = ARGV[i], ARGV[i + 1]
end
local done, late_at = ack(q, ids, tokens)
late = {}
for i, id in ipairs(ids) do
  if late_at and late_at[i] then late[#late + 1] = id end
end
if done > 0 then remember(memo, number, late) end
return late
