-- What happened to a message so far. `fence` is the token of its present or next lease; it grows by one whenever a lease
-- ends without an ack, so a holder whose lease ended says the wrong token. A message that never had trouble has no entry.
local function counts_of(q, id)
  local text = redis.call('HGET', q.counts, id)
  if not text then return {fence = 1, failures = 0, crashes = 0, interruptions = 0} end
  local fence, failures, crashes, interruptions = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  return {
    fence = tonumber(fence), failures = tonumber(failures),
    crashes = tonumber(crashes), interruptions = tonumber(interruptions),
  }
end

local function write_counts(q, id, counts)
  redis.call('HSET', q.counts, id, string.format(
    '%.0f %d %d %d', counts.fence, counts.failures, counts.crashes, counts.interruptions))
end

-- Deliveries of a message that failed or crashed; nil when there was none.
local function tries_of(q, id)
  local counts = counts_of(q, id)
  local tries = counts.failures + counts.crashes
  return tries > 0 and tries or nil
end

-- The tokens of several messages, as numbers, in order.
local function fences_of(q, ids)
  local fences = {}
  local texts = redis.call('EXISTS', q.counts) == 1 and redis.call('HMGET', q.counts, unpack(ids))
  for i = 1, #ids do
    fences[i] = texts and texts[i] and tonumber(string.match(texts[i], '^%d+')) or 1
  end
  return fences
end

-- Whether each of `ids` is leased under the token said for it; an empty token asks only whether it is leased.
local function held(q, ids, tokens)
  local expiries, fences, answers = redis.call('ZMSCORE', q.leased, unpack(ids)), fences_of(q, ids), {}
  for i = 1, #ids do
    answers[i] = expiries[i] and (tokens[i] == '' or tonumber(tokens[i]) == fences[i]) or false
  end
  return answers
end
