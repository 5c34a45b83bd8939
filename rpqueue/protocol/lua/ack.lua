-- Finish leased messages: they are done and gone.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2]     plain   int     how many of the leases have token 1; their ids come first
-- ARGV[3..n]  leases  those ids; then id, token, ... of the others; an empty token acks whoever holds the lease
-- Returns the ids that were not held, in order; empty when all are done now.
-- O(leases * log(leased)). Begins with a freeing write: works at maxmemory.
-- Needs: queue, memo, tally, held, ack
local q, memo = queue_at(1), KEYS[13]
local number, plain = ARGV[1], tonumber(ARGV[2])
local done, late = 0, recall(memo, number)
if late then return late end
late = {}

local function ack_some(ids, tokens)
  if #ids == 0 then return end
  local count, some = ack(q, ids, tokens)
  done = done + count
  for _, id in ipairs(some and ids or {}) do
    if some[id] then late[#late + 1] = id end
  end
end

local ids, tokens = {}, {}
for i = 3 + plain, #ARGV, 2 do
  ids[#ids + 1], tokens[#tokens + 1] = ARGV[i], ARGV[i + 1]
end
ack_some({unpack(ARGV, 3, 2 + plain)})
ack_some(ids, tokens)
if done > 0 then remember(memo, number, late) end
return late
