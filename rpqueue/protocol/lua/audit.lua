-- Look through a part of one place of a queue for what is not as it should be. Writes nothing.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- ARGV[1]     place   text    'ready', 'scheduled', 'leased', 'dead', 'lost', 'failed' or 'parked'; or 'messages', 'counts'
--                             or 'errors'
-- ARGV[2]     from    text    where to go on: '0' begins, else what the last call returned. Of 'ready', counted from the end:
--                             so ids are seen that stay there, whatever is pushed and popped meanwhile
-- ARGV[3]     count   int     about how many to look at, 1..1000
-- Returns {next, wrong}: where to go on, '0' at the end; and ids that have no message, or stand in another place, too. Of
-- 'messages' those that stand in no place, if they are not ready, which the caller has to know.
-- O(count * log(queue)).
-- Needs: queue
local q = queue_at(1)
local place, from, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ZSETS = {'scheduled', 'leased', 'dead', 'lost', 'failed'}

-- Every second one of a list.
local function firsts(flat)
  local found = {}
  for i = 1, #flat, 2 do found[#found + 1] = flat[i] end
  return found
end

-- Ids, and where to go on.
local function part()
  if place == 'ready' then
    local passed = tonumber(from)
    local ids = redis.call('LRANGE', q.ready, -passed - count, -passed - 1)
    return ids, passed + count < redis.call('LLEN', q.ready) and string.format('%.0f', passed + count) or '0'
  end
  if q[place] == q.messages or q[place] == q.counts or q[place] == q.errors or q[place] == q.parked then
    -- Bodies may be large: from Redis 7.4 and Valkey 8 on they can be left out.
    local found = redis.pcall('HSCAN', q[place], from, 'COUNT', count, 'NOVALUES')
    if not found.err then return found[2], found[1] end
    found = redis.call('HSCAN', q[place], from, 'COUNT', count)
    return firsts(found[2]), found[1]
  end
  local found = redis.call('ZSCAN', q[place], from, 'COUNT', count)
  return firsts(found[2]), found[1]
end

-- For each id, in how many of the zsets and `parked` it stands.
local function stands(ids)
  local numbers = {}
  for i = 1, #ids do numbers[i] = 0 end
  for _, zset in ipairs(ZSETS) do
    local scores = redis.call('ZMSCORE', q[zset], unpack(ids))
    for i = 1, #ids do numbers[i] = numbers[i] + (scores[i] and 1 or 0) end
  end
  local parked = redis.call('HMGET', q.parked, unpack(ids))
  for i = 1, #ids do numbers[i] = numbers[i] + (parked[i] and 1 or 0) end
  return numbers
end

-- A small hash or zset comes whole, however few were asked for.
local function wrong_among(ids)
  local wrong, numbers = {}, nil
  if place ~= 'counts' and place ~= 'errors' then numbers = stands(ids) end
  for i, id in ipairs(ids) do
    local is_wrong
    if place == 'messages' then
      is_wrong = numbers[i] == 0
    else
      is_wrong = redis.call('HEXISTS', q.messages, id) == 0
        or numbers and numbers[i] ~= (place == 'ready' and 0 or 1)
    end
    if is_wrong then wrong[#wrong + 1] = id end
  end
  return wrong
end

local ids, next_from = part()
local wrong = {}
for at = 1, #ids, 500 do
  for _, id in ipairs(wrong_among({unpack(ids, at, math.min(at + 499, #ids))})) do wrong[#wrong + 1] = id end
end
return {next_from, wrong}
