-- Leased -> done, for the ids that are held under their token. Returns the answers of held(). Begins with ZREM, which
-- frees memory, so that an ack works when Redis is full.
local function ack(q, ids, tokens)
  local answers, mine = held(q, ids, tokens), {}
  for i = 1, #ids do
    if answers[i] then mine[#mine + 1] = ids[i] end
  end
  if #mine > 0 then
    redis.call('ZREM', q.leased, unpack(mine))
    redis.call('HDEL', q.messages, unpack(mine))
    if redis.call('EXISTS', q.counts) == 1 then
      redis.call('HDEL', q.counts, unpack(mine))
      redis.call('HDEL', q.errors, unpack(mine))
    end
    redis.call('HINCRBY', q.stats, 'done', #mine)
  end
  -- pcall: at maxmemory the stale, too, get their answer, even if they cannot be counted.
  if #mine < #ids then redis.pcall('HINCRBY', q.stats, 'stale', #ids - #mine) end
  return answers
end
