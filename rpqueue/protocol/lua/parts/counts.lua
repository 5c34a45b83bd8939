-- What happened to a message so far. `fence` is the token of its present or next lease; it grows by one whenever a lease
-- ends without an ack, so a holder whose lease ended says the wrong token. A message that never had trouble has no entry.
-- What cannot be read, because somebody else wrote it, counts as none.
local function counts_of(q, id)
  local text = redis.call('HGET', q.counts, id) or ''
  local fence, failures, crashes, interruptions = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  return {
    fence = tonumber(fence or 1), failures = tonumber(failures or 0),
    crashes = tonumber(crashes or 0), interruptions = tonumber(interruptions or 0),
  }
end

local function write_counts(q, id, counts)
  q.has_counts = true
  redis.call('HSET', q.counts, id, string.format(
    '%.0f %d %d %d', counts.fence, counts.failures, counts.crashes, counts.interruptions))
end
