-- Scheduled and due -> ready, at most `limit`, earliest first. Returns how many.
local function promote(q, now, limit)
  local due = redis.call('ZRANGEBYSCORE', q.scheduled, '-inf', now, 'LIMIT', 0, limit)
  if #due > 0 then
    redis.call('ZREM', q.scheduled, unpack(due))
    redis.call('RPUSH', q.ready, unpack(due))
  end
  return #due
end
