-- A note that was kept beside a message. Writes nothing.
--
-- KEYS[1..12] queue  see QueueKeys.block
-- KEYS[13]    note   string  where it is kept
-- ARGV[1]     id     text
-- Returns the note; an empty string when there is none, or only that of an earlier message with the same id.
-- O(1).
-- Needs: queue, header
local q = queue_at(1)
local at, text = string.match(redis.call('GET', KEYS[13]) or '', '^(%d+) (.*)$')
local message = redis.call('HGET', q.messages, ARGV[1])
-- Of a message that is gone, the last word is as good as it was.
if not at or message and header_of(message) ~= at then return '' end
return text
