-- Leased -> done: finish() for what is known to be held, ack() for what somebody says he holds.

-- Leased -> done: whoever held them has checked that.
local function finish(q, ids)
  redis.call('HDEL', q.messages, unpack(ids))
  if has_counts(q) then
    redis.call('HDEL', q.counts, unpack(ids))
    redis.call('HDEL', q.errors, unpack(ids))
  end
  redis.pcall('HINCRBY', q.stats, 'done', #ids)
end

local function stands_elsewhere(q, id)
  for _, place in ipairs({'scheduled', 'dead', 'lost', 'failed'}) do
    if redis.call('ZSCORE', q[place], id) then return true end
  end
  return redis.call('HEXISTS', q.parked, id) == 1 or redis.call('LPOS', q.ready, id) ~= false
end

-- Of `ids`, which were taken out of `leased`, those that had been there: so many as `removed` says. These are the ones that
-- have a message, unless somebody said a token that he was never given; then every other place is searched.
local function were_leased(q, ids, removed)
  local existing, leased = {}, {}
  for _, id in ipairs(ids) do
    if redis.call('HEXISTS', q.messages, id) == 1 then existing[#existing + 1] = id end
  end
  if #existing == removed then return existing end
  for _, id in ipairs(existing) do
    if not stands_elsewhere(q, id) then leased[#leased + 1] = id end
  end
  return leased
end

-- The ids whose token is the present one; without `tokens` all are said to be 1. Of those with an empty token, which says
-- nothing, only leased ones.
local function fitting(q, ids, tokens)
  local fences = fences_of(q, ids)
  if not tokens and not fences then return ids end
  local mine = {}
  for i, id in ipairs(ids) do
    local token = tokens and tokens[i] or 1
    if token == '' and redis.call('ZSCORE', q.leased, id) or tonumber(token) == (fences and fences[i] or 1) then
      mine[#mine + 1] = id
    end
  end
  return mine
end

-- Leased -> done, for the ids that are held under their token: see fitting(). Returns how many are done and, unless all are,
-- the others as {id = true}. Begins with ZREM, which frees memory, so that an ack works when Redis is full; and to ask ZREM
-- how many there were costs half of asking first which are there.
local function ack(q, ids, tokens)
  local mine = fitting(q, ids, tokens)
  local removed = #mine > 0 and redis.call('ZREM', q.leased, unpack(mine)) or 0
  if removed < #mine then mine = were_leased(q, mine, removed) end
  if #mine > 0 then finish(q, mine) end
  if #mine == #ids then return #mine, nil end
  local late = {}
  for _, id in ipairs(ids) do late[id] = true end
  for _, id in ipairs(mine) do late[id] = nil end
  -- pcall: at maxmemory the late, too, get their answer, even if they cannot be counted.
  redis.pcall('HINCRBY', q.stats, 'stale', #ids - #mine)
  return #mine, late
end
