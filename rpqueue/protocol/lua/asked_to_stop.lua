-- Which runs are to be stopped: their message is cancelled, or their lease is gone. Writes nothing.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13..n] asked   string  one mark for each lease, as `cancel` sets it
-- ARGV[1..n]  leases  id, token, ...
-- Returns for each lease in order: 'cancelled', 'lost' or 'held'.
-- O(leases * log(leased)).
-- Needs: queue, header, tally, held
local q = queue_at(1)
local ids, tokens, marks = {}, {}, {}
for i = 1, #ARGV, 2 do ids[#ids + 1], tokens[#tokens + 1] = ARGV[i], ARGV[i + 1] end
for i = 13, #KEYS do marks[#marks + 1] = redis.call('GET', KEYS[i]) end
local answers = held(q, ids, tokens)
for i, id in ipairs(ids) do
  local mark = marks[i]
  if not answers[i] then
    answers[i] = 'lost'
  elseif mark and (header_of(redis.call('HGET', q.messages, id) or '') or '0') == mark then
    answers[i] = 'cancelled'
  else
    answers[i] = 'held'
  end
end
return answers
