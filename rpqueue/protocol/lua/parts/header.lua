-- What the header of a message says; messages.py has its form. Its version does not matter here: these words mean the same in
-- all of them, so that the messages of a newer library can be scheduled, reaped and buried by an older one.

local USE_DEAD, WATCHED, CHOSEN_ID, DELAYED, RECOVER = 1, 2, 4, 8, 16

local function has(flags, flag)
  return flags % (flag * 2) >= flag
end

-- What the tails of headers say, {lease, attempts, flags}, false when it is nothing of ours: messages of a queue share theirs.
local terms = {[''] = {0, 1, 0}}
-- Digits of the largest number of ours. A Lua number holds these exactly.
local MOST_DIGITS = 15

-- Words that follow are a newer library's.
local function terms_of(tail)
  local lease, attempts, flags, more = string.match(tail, '^ (%d+) (%d+) (%d+)(.?)')
  local good = lease and (more == '' or more == ' ') and math.max(#lease, #attempts, #flags) <= MOST_DIGITS
  terms[tail] = good and {tonumber(lease), tonumber(attempts), tonumber(flags)} or false
  return terms[tail]
end

-- available_at (ms, as text), lease (ms; 0: at most once), attempts and flags of a message; nil when it is none of ours.
local function header_of(message)
  local available_at, tail = string.match(message, '^[1-9]%d* (%d+)([^|]*)|')
  if not available_at or #available_at > MOST_DIGITS then return nil end
  local known = terms[tail]
  if known == nil then known = terms_of(tail) end
  if not known then return nil end
  return available_at, known[1], known[2], known[3]
end

-- A header that says version and instant alone ends here, for instants have 13 digits from 2001 to 2286. It is told by this
-- one byte, because that is done for every message that is claimed.
local PLAIN_END, BAR = 16, 124
