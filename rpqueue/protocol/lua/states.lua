-- Where messages are now. Writes nothing.
--
-- KEYS[1..12] queue     see QueueKeys.block
-- KEYS[13..n] outcomes  string  one for each id
-- ARGV[1..n]  ids       text
-- Returns {now, {state, at, counts, message, error, outcome}, ...}, one for each id in order: at is when it is due, when
-- its lease ends or when it was buried (ms; 0 when ready or gone), counts as stored, an empty string wherever there is
-- nothing. The state is one of State, 'done' only with an outcome; 'gone' when nothing is known of the id.
-- O(ids * log(n)).
-- Needs: now, queue
local q = queue_at(1)
local answers = {now_ms()}
for i, id in ipairs(ARGV) do
  local message = redis.call('HGET', q.messages, id)
  local outcome = redis.call('GET', KEYS[12 + i]) or ''
  local state, at = 'gone', '0'
  if message then
    state = 'ready'
    for _, where in ipairs({'leased', 'scheduled', 'dead', 'lost', 'failed'}) do
      local score = redis.call('ZSCORE', q[where], id)
      if score then
        state, at = where, score
        break
      end
    end
    if state == 'ready' and redis.call('HEXISTS', q.parked, id) == 1 then state = 'parked' end
  elseif outcome ~= '' then
    -- A signature stands in front of it, as signing.py has it.
    state = string.match(string.gsub(outcome, '^~[^~]*~[^~]*~', ''), '^{"state":"(%a+)"') or 'done'
  end
  answers[i + 1] = {
    state, at, redis.call('HGET', q.counts, id) or '', message or '', redis.call('HGET', q.errors, id) or '', outcome,
  }
end
return answers
