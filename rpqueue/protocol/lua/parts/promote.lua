-- Scheduled and due -> ready, at most `limit`, earliest first. Returns how many, and the first instant that is left; see
-- head_of().
local function promote(q, now, limit)
  local first = head_of(q.scheduled)
  if not first or first > now then return 0, first end
  redis.call('LLEN', q.ready) -- refuses a key of a wrong type before anything leaves `scheduled`
  local due = redis.call('ZRANGEBYSCORE', q.scheduled, '-inf', now, 'LIMIT', 0, limit)
  redis.call('ZREM', q.scheduled, unpack(due))
  redis.call('RPUSH', q.ready, unpack(due))
  return #due, head_of(q.scheduled)
end
