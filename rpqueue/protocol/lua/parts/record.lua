-- What is remembered of a message's failures: `errors` holds "reason at|record", and behind that the records of earlier
-- runs, newest first, a line each. JSON has no line breaks of its own.

-- Bytes of records beyond which the oldest of one message go.
local MOST_RECORDED = 65536

-- Put a record (JSON, or empty) in front of those that are kept, and let at most `most` of them stay.
local function record(q, id, reason, now, error_json, most)
  local last = redis.call('HGET', q.errors, id)
  local kept, rest = {}, last and string.match(last, '|(.*)$') or ''
  if error_json ~= '' then kept[1] = error_json end
  local size = #error_json
  for one in string.gmatch(rest, '[^\n]+') do
    size = size + #one
    if #kept >= most or #kept > 0 and size > MOST_RECORDED then break end
    kept[#kept + 1] = one
  end
  redis.call('HSET', q.errors, id, string.format('%s %.0f|', reason, now) .. table.concat(kept, '\n'))
end
