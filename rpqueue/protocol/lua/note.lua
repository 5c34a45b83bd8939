-- Keep a note beside a held message: how far it is, or what its next run begins with.
--
-- KEYS[1..12] queue    see QueueKeys.block
-- KEYS[13]    note     string  where it is kept
-- ARGV[1]     id       text
-- ARGV[2]     token    int
-- ARGV[3]     text     text    the note; empty: there is none any more
-- ARGV[4]     keep_for int     ms
-- ARGV[5]     news     text    published on the message's channel; empty: nothing
-- Returns 1, or 0 when the token holds no lease: then nothing was written.
-- O(log(leased)). Sent twice, it writes the same.
-- Needs: queue, header, tally, held, publish
local q, note = queue_at(1), KEYS[13]
local id, token, text, keep_for, news = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
if not held(q, {id}, {token})[1] then return 0 end
if text == '' then
  redis.call('DEL', note)
else
  -- With the instant of its message, for a later one may have the same id.
  local available_at = header_of(redis.call('HGET', q.messages, id) or '') or '0'
  redis.call('SET', note, available_at .. ' ' .. text, 'PX', keep_for)
end
if news ~= '' then publish(q, id, news) end
return 1
