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
