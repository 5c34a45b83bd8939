-- Redis's clock, in milliseconds since the epoch. The only clock whose instants are stored.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- An instant (ms) as text, for scores: a number would be written out anew for every member.
local function instant(at)
  return string.format('%.0f', at)
end
