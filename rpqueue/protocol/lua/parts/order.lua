-- In which order a round claims from its queues, and whether others are to go before one.

-- A priority as Redis tells it; none goes last.
local function as_number(priority)
  return priority and tonumber(priority) or math.huge -- some builds of Lua cannot read 'inf'
end

-- The numbers of some queues by their priority of this moment, which may have changed since the caller asked; those of
-- equal priority stay in the caller's order, and all of them where there is no index. Also their priorities. See reindex()
-- for `first`.
local function by_priority(queues, first)
  local order, names = {}, {}
  for n, queue in ipairs(queues) do order[n], names[n] = n, queue.name end
  if #names == 0 or not KEYS[first] then return order end
  local priorities = redis.call('ZMSCORE', KEYS[first], unpack(names))
  for n in ipairs(names) do priorities[n] = as_number(priorities[n]) end
  table.sort(order, function(a, b)
    if priorities[a] ~= priorities[b] then return priorities[a] < priorities[b] end
    return a < b
  end)
  return order, priorities
end

-- The best priority among queues that are not among `queues` and have due messages.
local function first_of_due(queues, first, now)
  local named, best = {}, math.huge
  for _, queue in ipairs(queues) do named[queue.name] = true end
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[first + 2], '-inf', now, 'LIMIT', 0, 16)) do
    if not named[name] then best = math.min(best, as_number(redis.call('ZSCORE', KEYS[first], name))) end
  end
  return best
end

-- The best priority among queues with ready messages.
local function first_of_ready(first)
  return as_number(redis.call('ZRANGE', KEYS[first + 1], 0, 0, 'WITHSCORES')[2])
end
