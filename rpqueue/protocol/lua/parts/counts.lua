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
  q.has_counts = true
  redis.call('HSET', q.counts, id, string.format(
    '%.0f %d %d %d', counts.fence, counts.failures, counts.crashes, counts.interruptions))
end

-- Whether any message of the queue has an entry; asked once in a call.
local function has_counts(q)
  if q.has_counts == nil then q.has_counts = redis.call('EXISTS', q.counts) == 1 end
  return q.has_counts
end

-- The tokens of several messages, as numbers, in order; nil when all are 1.
local function fences_of(q, ids)
  if not has_counts(q) then return nil end
  local fences = redis.call('HMGET', q.counts, unpack(ids))
  for i, text in ipairs(fences) do fences[i] = text and tonumber(string.match(text, '^%d+')) or 1 end
  return fences
end

-- Whether a token that a caller says is the present one; an empty one always is.
local function fits(token, fence)
  return token == '' or tonumber(token) == fence
end

-- Whether each of `ids` is leased under the token said for it; an empty token asks only whether it is leased.
local function held(q, ids, tokens)
  local expiries, fences, answers = redis.call('ZMSCORE', q.leased, unpack(ids)), fences_of(q, ids), {}
  for i = 1, #ids do
    answers[i] = expiries[i] and fits(tokens[i], fences and fences[i] or 1)
  end
  return answers
end
