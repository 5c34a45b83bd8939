-- Tell whoever waits for this message what became of it. Nothing depends on its arriving: waiters look again by themselves.
-- pcall: an ACL that allows no channels must not stop a move half way.
local function publish(q, id, news)
  q.events = q.events or string.sub(q.wake, 1, -5) .. 'events:'
  redis.pcall('PUBLISH', q.events .. id, news)
end
