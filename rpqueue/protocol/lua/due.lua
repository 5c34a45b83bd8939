-- Count what could be run at once, in several queues: ready messages, scheduled ones that are due, and those whose lease is
-- over. Writes nothing.
--
-- KEYS[..]  ready, scheduled, leased   three keys of every queue; on Cluster, of one queue
-- Returns how many. A key of a wrong type counts as empty, as workers pass it by.
-- O(queues * log(messages)).
-- Needs: now
local now = instant(now_ms())
local due = 0
for first = 1, #KEYS, 3 do
  for _, count in ipairs({
    redis.pcall('LLEN', KEYS[first]),
    redis.pcall('ZCOUNT', KEYS[first + 1], '-inf', now),
    redis.pcall('ZCOUNT', KEYS[first + 2], '-inf', now),
  }) do
    if type(count) == 'number' then due = due + count end
  end
end
return due
