-- Ready -> leased, at most `wanted`, first in first out, for `lease_for` ms; with `cap`, for the message's own lease when
-- that is shorter. Returns {{id, token, message, tries}, ...}; tries, the deliveries that failed or crashed before, is left
-- out when there was none. The first delivery of a message writes one ZADD and nothing else.
local function claim(q, wanted, now, lease_for, cap)
  local ids = redis.call('LPOP', q.ready, wanted)
  if not ids or #ids == 0 then return {} end
  local messages, fences = redis.call('HMGET', q.messages, unpack(ids)), fences_of(q, ids)
  local leases, claimed = {}, {}
  for i, id in ipairs(ids) do
    local message = messages[i]
    if message then
      local lease = lease_for
      if cap then
        local _, own = header_of(message)
        if own and own > 0 and own < lease then lease = own end
      end
      leases[#leases + 1] = now + lease
      leases[#leases + 1] = id
      claimed[#claimed + 1] = {id, fences[i], message, fences[i] > 1 and tries_of(q, id) or nil}
    end
  end
  if #leases > 0 then redis.call('ZADD', q.leased, unpack(leases)) end
  return claimed
end
