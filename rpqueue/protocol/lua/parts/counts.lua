-- What happened to a message so far. `fence` is the token of its present or next lease; it grows by one whenever a lease
-- ends without an ack, so a holder whose lease ended says the wrong token. A message that never had trouble has no entry.
local function counts_of(q, id)
  local fence, failures, crashes, interruptions = tally(redis.call('HGET', q.counts, id))
  return {fence = fence, failures = failures, crashes = crashes, interruptions = interruptions}
end

local function write_counts(q, id, counts)
  q.has_counts = true
  redis.call('HSET', q.counts, id, string.format(
    '%.0f %d %d %d', counts.fence, counts.failures, counts.crashes, counts.interruptions))
end
