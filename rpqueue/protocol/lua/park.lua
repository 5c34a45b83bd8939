-- Set leased messages aside whose task name the worker does not know; no delivery is counted.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2..n]  leases  id, token, task name, ...
-- Returns the ids that were held and are parked, in order.
-- O(leases * log(leased)). Begins with a freeing write: works at maxmemory.
-- Needs: queue, check, memo, tally, counts, held, publish
local q, memo, number = queue_at(1), KEYS[13], ARGV[1]
local parked = recall(memo, number)
if parked then return parked end
parked = {}
check(q, true)
for i = 2, #ARGV, 3 do
  local id, token, task = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if held(q, {id}, {token})[1] then
    redis.call('ZREM', q.leased, id)
    local counts = counts_of(q, id)
    counts.fence = counts.fence + 1
    write_counts(q, id, counts)
    redis.call('HSET', q.parked, id, task)
    parked[#parked + 1] = id
  end
end
if #parked > 0 then
  publish(q, '', 'done ' .. #parked)
  remember(memo, number, parked)
end
return parked
