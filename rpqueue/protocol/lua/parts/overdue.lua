-- How many messages of a grave are to go, the oldest ones: those that were buried more than `ttl` ms ago (0: however long
-- that is), and those beyond the newest `keep` (-1: however many).
local function overdue(grave, now, ttl, keep)
  local aged = ttl > 0 and redis.call('ZCOUNT', grave, '-inf', instant(now - ttl)) or 0
  local excess = keep >= 0 and redis.call('ZCARD', grave) - keep or 0
  return math.max(aged, excess, 0)
end
