-- Ready -> leased, by claim(), or out of the queue for good, by pop().

-- Ids and their messages without those that have none; and the ids of these, or nil.
local function present(ids, messages)
  local kept, missing = 0, nil
  for i = 1, #ids do
    if messages[i] then
      kept = kept + 1
      if kept < i then ids[kept], messages[kept] = ids[i], messages[i] end
    else
      missing = missing or {}
      missing[#missing + 1] = ids[i]
    end
  end
  for i = #ids, kept + 1, -1 do ids[i], messages[i] = nil, nil end
  return ids, messages, missing
end

-- What `read` returns. When it finds a key of a wrong type, `ids` go back to the head of the list before that is raised.
local function or_put_back(q, ids, read, ...)
  local good, answer = pcall(read, ...)
  if good then return answer end
  for i = #ids, 1, -1 do redis.call('LPUSH', q.ready, ids[i]) end
  error(answer, 0)
end

-- Of some ids that were leased before, their place, token, failures and crashes: see pop().
local function again_of(texts)
  local again = {}
  for place, text in ipairs(texts) do
    if text then
      local fence, failures, crashes = tally(text)
      again[#again + 1] = place
      again[#again + 1] = fence
      again[#again + 1] = failures
      again[#again + 1] = crashes
    end
  end
  return again
end

-- Popped without a message -> dead. `ids` were popped with them.
local function bury_all_missing(q, missing, ids, now)
  local all = {}
  for _, some in ipairs({missing, ids}) do
    for _, id in ipairs(some) do all[#all + 1] = id end
  end
  or_put_back(q, all, check, q, true)
  for _, id in ipairs(missing) do bury_missing(q, id, now) end
end

-- Ready -> out of the list, at most `wanted`, first in first out. Returns {ids, messages, again}, nil when there is nothing:
-- `again` has, of those that were leased before, their place among the ids, their token, and how many of their deliveries
-- failed and how many crashed, one after the other. All others have token 1, and none. Ids without a message are buried.
local function pop(q, wanted, now)
  for _ = 1, 100 do
    local ids = redis.call('LPOP', q.ready, wanted)
    if not ids or #ids == 0 then return nil end
    local messages, missing = or_put_back(q, ids, redis.call, 'HMGET', q.messages, unpack(ids)), nil
    ids, messages, missing = present(ids, messages)
    if missing then bury_all_missing(q, missing, ids, now) end
    if #ids > 0 then
      local texts = has_counts(q) and or_put_back(q, ids, redis.call, 'HMGET', q.counts, unpack(ids))
      return {ids, messages, texts and again_of(texts) or {}}
    end
  end
  return nil
end

-- Of what was popped, what was leased by that: `added` of them, under `leases` (see claim). Only somebody who writes to Redis
-- by himself can make an id ready that is leased, or ready twice. Such a one is left to the lease that it has.
local function newly_leased(q, popped, leases, added)
  local ids, messages, again = unpack(popped)
  local scores, places, seen, mine = redis.call('ZMSCORE', q.leased, unpack(ids)), {}, {}, {{}, {}, {}}
  for i, id in ipairs(ids) do
    if not seen[id] and tonumber(scores[i]) == tonumber(leases[2 * (#ids - i) + 1]) then
      mine[1][#mine[1] + 1], mine[2][#mine[2] + 1] = id, messages[i]
      places[i] = #mine[1]
    end
    seen[id] = true
  end
  -- Where an older lease ends in the same millisecond nobody can say which is new, and none is handed out.
  if added == 0 or #mine[1] > added then return nil end
  for i = 1, #again, 4 do
    if places[again[i]] then
      for _, word in ipairs({places[again[i]], again[i + 1], again[i + 2], again[i + 3]}) do
        mine[3][#mine[3] + 1] = word
      end
    end
  end
  return mine
end

-- Ready -> leased, for `lease_for` ms; with `cap`, for the message's own lease when that is shorter. Returns what pop()
-- does, and the first instant at which one of these leases ends. The first delivery of a message writes one ZADD and nothing
-- else.
local function claim(q, wanted, now, lease_for, cap)
  local claimed = pop(q, wanted, now)
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
  local added = redis.call('ZADD', q.leased, 'NX', unpack(leases))
  if added < #ids then claimed = newly_leased(q, claimed, leases, added) end
  return claimed, claimed and first
end
