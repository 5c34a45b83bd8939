-- Set leased messages aside whose task name the worker does not know; no delivery is counted.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- ARGV[1..n]  leases  id, token, task name, ...
-- Returns the ids that were held and are parked, in order.
-- O(leases * log(leased)). Sent twice, it parks once.
-- Needs: queue, check, tally, counts, held, publish
local q = queue_at(1)
local parked = {}
check(q, true)
for i = 1, #ARGV, 3 do
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
if #parked > 0 then publish(q, '', 'done ' .. #parked) end
return parked
