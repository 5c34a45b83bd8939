-- Tokens, and whether a lease is held under the one that is said.

-- Whether any message of the queue has an entry; asked once in a call.
local function has_counts(q)
  if q.has_counts == nil then q.has_counts = redis.call('EXISTS', q.counts) == 1 end
  return q.has_counts
end

-- The tokens of several messages, as numbers, in order; nil when all are 1.
local function fences_of(q, ids)
  if not has_counts(q) then return nil end
  local fences = redis.call('HMGET', q.counts, unpack(ids))
  for i, text in ipairs(fences) do fences[i] = text and tally(text) or 1 end
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
