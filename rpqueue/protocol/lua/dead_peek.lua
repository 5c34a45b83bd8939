-- Show the messages of one queue that died first. Writes nothing.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- ARGV[1]     wanted  int  1..1000
-- Returns {{id, died, message, counts, error}, ...}, oldest death (ms) first: counts and error as stored, an empty string
-- wherever there is nothing.
-- O(wanted + log(dead)).
-- Needs: queue
local q = queue_at(1)
local wanted = tonumber(ARGV[1])
local dead, rows = redis.call('ZRANGE', q.dead, 0, wanted - 1, 'WITHSCORES'), {}
if #dead == 0 then return rows end
local ids = {}
for i = 1, #dead, 2 do ids[#ids + 1] = dead[i] end
local messages = redis.call('HMGET', q.messages, unpack(ids))
local counts = redis.call('HMGET', q.counts, unpack(ids))
local errors = redis.call('HMGET', q.errors, unpack(ids))
for i, id in ipairs(ids) do
  rows[i] = {id, dead[2 * i], messages[i] or '', counts[i] or '', errors[i] or ''}
end
return rows
