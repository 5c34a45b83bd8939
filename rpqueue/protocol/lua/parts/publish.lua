-- Tell whoever waits for this message what became of it. Nothing depends on its arriving: waiters look again by themselves.
local function publish(q, id, news)
  redis.call('PUBLISH', string.sub(q.wake, 1, -5) .. 'events:' .. id, news)
end
