-- When something is due.

-- Farther than any instant of ours. A reply could not hold a number that is much larger, and would tell another.
local FARTHEST = 2 ^ 53

-- The earliest instant (ms) in a sorted set; nil when it is empty.
local function head_of(zset)
  local at = tonumber(redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2])
  return at and math.min(at, FARTHEST)
end

-- The earlier of two instants, either of which may be nil.
local function earlier(one, other)
  return one and other and math.min(one, other) or one or other
end

-- The instant, in ms, at which the queue next needs a hand: a message is due or a lease ends. nil: never.
local function next_due(q)
  return earlier(head_of(q.scheduled), head_of(q.leased))
end
