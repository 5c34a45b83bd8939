-- What the header of a message says; messages.py has its form.

-- What the tails of headers say, {lease, attempts, flags}, false when it is nothing of ours: messages of a queue share theirs.
local terms = {[''] = {0, 1, 0}}

local function terms_of(tail)
  local lease, attempts, flags = string.match(tail, '^ (%d+) (%d+) (%d+)$')
  terms[tail] = lease and {tonumber(lease), tonumber(attempts), tonumber(flags)} or false
  return terms[tail]
end

-- available_at (ms, as text), lease (ms; 0: at most once), attempts and flags of a message; nil when it is none of ours.
local function header_of(message)
  local available_at, tail = string.match(message, '^1 (%d+)([^|]*)|')
  if not available_at then return nil end
  local known = terms[tail]
  if known == nil then known = terms_of(tail) end
  if not known then return nil end
  return available_at, known[1], known[2], known[3]
end

local USE_DEAD, WATCHED, CHOSEN_ID, DELAYED = 1, 2, 4, 8

local function has(flags, flag)
  return flags % (flag * 2) >= flag
end

-- A header that says version and instant alone ends here, for instants have 13 digits from 2001 to 2286. It is told by this
-- one byte, because that is done for every message that is claimed.
local PLAIN_END, BAR = 16, 124
