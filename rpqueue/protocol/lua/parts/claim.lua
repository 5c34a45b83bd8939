-- Ready -> leased, by claim(), or out of the queue for good, by pop().

-- Ids and their messages without those that have none.
local function present(ids, messages)
  local kept = 0
  for i = 1, #ids do
    if messages[i] then
      kept = kept + 1
      if kept < i then ids[kept], messages[kept] = ids[i], messages[i] end
    end
  end
  for i = #ids, kept + 1, -1 do ids[i], messages[i] = nil, nil end
  return ids, messages
end

-- Ready -> out of the list, at most `wanted`, first in first out. Returns {ids, messages, again}, nil when there is nothing:
-- `again` has, of those that were leased before, their place among the ids, their token and their tries (deliveries that
-- failed or crashed), one after the other. All others have token 1 and no tries.
local function pop(q, wanted)
  local ids = redis.call('LPOP', q.ready, wanted)
  if not ids or #ids == 0 then return nil end
  local messages, again = redis.call('HMGET', q.messages, unpack(ids)), {}
  ids, messages = present(ids, messages)
  if #ids == 0 then return nil end
  for place, text in ipairs(has_counts(q) and redis.call('HMGET', q.counts, unpack(ids)) or {}) do
    if text then
      local fence, failures, crashes = string.match(text, '^(%d+) (%d+) (%d+)')
      again[#again + 1] = place
      again[#again + 1] = tonumber(fence)
      again[#again + 1] = failures + crashes
    end
  end
  return {ids, messages, again}
end

-- Ready -> leased, for `lease_for` ms; with `cap`, for the message's own lease when that is shorter. Returns what pop()
-- does, and the first instant at which one of these leases ends. The first delivery of a message writes one ZADD and nothing
-- else.
local function claim(q, wanted, now, lease_for, cap)
  local claimed = pop(q, wanted)
  if not claimed then return nil end
  local ids, messages, leases = claimed[1], claimed[2], {}
  local longest, shorter, first, byte = instant(now + lease_for), {}, now + lease_for, string.byte
  -- Last one first: ids that were put in together are sorted, and each then goes before all that end when it does.
  for i = #ids, 1, -1 do
    local ends_at = longest
    if cap and byte(messages[i], PLAIN_END) ~= BAR then
      local _, own = header_of(messages[i])
      if own and own > 0 and own < lease_for then
        ends_at = shorter[own] or instant(now + own)
        shorter[own], first = ends_at, math.min(first, now + own)
      end
    end
    leases[#leases + 1] = ends_at
    leases[#leases + 1] = ids[i]
  end
  redis.call('ZADD', q.leased, unpack(leases))
  return claimed, first
end
