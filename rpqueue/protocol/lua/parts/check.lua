-- Raises unless every key of a queue is of its type, or missing. A script is not undone when it fails half way, so one that
-- moves messages between keys which it does not read first begins with this.
local function check(q)
  for _, zset in ipairs({'scheduled', 'leased', 'dead', 'lost', 'failed'}) do redis.call('ZCARD', q[zset]) end
  for _, hash in ipairs({'messages', 'counts', 'errors', 'parked'}) do redis.call('HLEN', q[hash]) end
  redis.call('LLEN', q.ready)
end
