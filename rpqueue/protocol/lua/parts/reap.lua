-- Leased and expired -> ready again or buried, at most `limit`, earliest first. Returns how many.
local function reap(q, now, limit, rules)
  local expired = redis.call('ZRANGEBYSCORE', q.leased, '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(expired) do
    redis.call('ZREM', q.leased, id)
    local counts = counts_of(q, id)
    counts.failures = counts.failures + 1
    end_lease(q, id, counts, rules, now, 'expired')
  end
  if #expired > 0 then redis.call('HINCRBY', q.stats, 'expired', #expired) end
  return #expired
end
