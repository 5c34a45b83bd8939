-- Whether a message's lease ends only because its worker died: see RECOVER in messages.py.
local function is_recovered(q, id)
  local message = redis.call('HGET', q.messages, id)
  local available_at, _, _, flags = header_of(message or '')
  return available_at and has(flags, RECOVER)
end

-- Leased and expired -> ready again or buried, at most `limit`, earliest first. Returns how many, and the first expiry that
-- is left; see head_of().
local function reap(q, now, limit, rules)
  local first = head_of(q.leased)
  if not first or first > now then return 0, first end
  check(q, true)
  local expired = redis.call('ZRANGEBYSCORE', q.leased, '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(expired) do
    redis.call('ZREM', q.leased, id)
    local counts = counts_of(q, id)
    if is_recovered(q, id) then
      counts.crashes = counts.crashes + 1
    else
      counts.failures = counts.failures + 1
    end
    end_lease(q, id, counts, rules, now, 'expired')
  end
  redis.pcall('HINCRBY', q.stats, 'expired', #expired)
  return #expired, head_of(q.leased)
end
