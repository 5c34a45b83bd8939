-- available_at (ms), lease (ms; 0: at most once), attempts and flags of a message; nil when it is none of ours.
local function header_of(message)
  local available_at, rest = string.match(message, '^1 (%d+)([^|]*)|')
  if not available_at then return nil end
  if rest == '' then return tonumber(available_at), 0, 1, 0 end
  local lease, attempts, flags = string.match(rest, '^ (%d+) (%d+) (%d+)$')
  if not lease then return nil end
  return tonumber(available_at), tonumber(lease), tonumber(attempts), tonumber(flags)
end

local USE_DEAD, WATCHED, CHOSEN_ID, DELAYED = 1, 2, 4, 8

local function has(flags, flag)
  return flags % (flag * 2) >= flag
end
