-- Redis's clock, in milliseconds since the epoch. The only clock whose instants are stored.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
