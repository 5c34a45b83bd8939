-- How far messages have come. Writes nothing, and reads no bodies.
--
-- KEYS[1..12] queue  see QueueKeys.block
-- ARGV[1..n]  ids    text
-- Returns for each id in order: 0 when it is over; its token when it is leased; -1 when it waits for its first delivery;
-- -2 when it waits for a further one.
-- O(ids * log(leased)).
-- Needs: queue, tally, counts
local q = queue_at(1)
local answers = {}
for i, id in ipairs(ARGV) do
  if redis.call('HEXISTS', q.messages, id) == 0 then
    answers[i] = 0
  elseif redis.call('ZSCORE', q.leased, id) then
    answers[i] = counts_of(q, id).fence
  elseif redis.call('ZSCORE', q.dead, id) or redis.call('ZSCORE', q.lost, id) or redis.call('ZSCORE', q.failed, id) then
    answers[i] = 0
  else
    local counts = counts_of(q, id)
    answers[i] = counts.failures + counts.crashes + counts.interruptions > 0 and -2 or -1
  end
end
return answers
