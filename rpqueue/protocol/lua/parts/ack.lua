-- Leased -> done: whoever held them has checked that.
local function finish(q, ids)
  redis.call('HDEL', q.messages, unpack(ids))
  if has_counts(q) then
    redis.call('HDEL', q.counts, unpack(ids))
    redis.call('HDEL', q.errors, unpack(ids))
  end
  redis.call('HINCRBY', q.stats, 'done', #ids)
end

-- Leased -> done, for the ids that are held under their token; without `tokens` all are said to be 1. Returns how many are
-- done, and of the others, if there are any, {place = true}. Begins with ZREM, which frees memory, so that an ack works
-- when Redis is full.
local function ack(q, ids, tokens)
  local expiries, fences, late = redis.call('ZMSCORE', q.leased, unpack(ids)), fences_of(q, ids), nil
  for i = 1, #ids do
    if not expiries[i] or (tokens or fences) and not fits(tokens and tokens[i] or 1, fences and fences[i] or 1) then
      late = late or {}
      late[i] = true
    end
  end
  local mine = ids
  if late then
    mine = {}
    for i, id in ipairs(ids) do
      if not late[i] then mine[#mine + 1] = id end
    end
  end
  if #mine > 0 then
    redis.call('ZREM', q.leased, unpack(mine))
    finish(q, mine)
  end
  -- pcall: at maxmemory the late, too, get their answer, even if they cannot be counted.
  if late then redis.pcall('HINCRBY', q.stats, 'stale', #ids - #mine) end
  return #mine, late
end
