-- Raises unless the keys of a queue are of their types, or missing: those through which messages move, and if asked to, those
-- in which they are `kept` when they are given up or parked. A script is not undone when it fails half way, so one that moves
-- messages between keys which it does not read first begins with this.
local function check(q, kept)
  redis.call('HLEN', q.messages)
  redis.call('LLEN', q.ready)
  redis.call('ZCARD', q.scheduled)
  redis.call('ZCARD', q.leased)
  redis.call('HLEN', q.counts)
  if kept then
    for _, zset in ipairs({'dead', 'lost', 'failed'}) do redis.call('ZCARD', q[zset]) end
    redis.call('HLEN', q.errors)
    redis.call('HLEN', q.parked)
  end
end
