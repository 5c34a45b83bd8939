-- Messages of a queue in the order of its places, some of them. Writes nothing.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- ARGV[1]     limit   int   most messages to return, 1..1000
-- ARGV[2]     skip    int   how many to pass over first
-- ARGV[3]     after   text  cursor that the last call about this one place returned, instead of `skip`; empty: none
-- ARGV[4]     newest  0|1   1: each place the other way round, the last one first; 'parked' has no order
-- ARGV[5]     most    int   bytes of each message to return; 0: all
-- ARGV[6]     records int   records of failed runs to return of each, the newest first; 0: none
-- ARGV[7..n]  places  text  'ready', 'scheduled', 'leased', 'dead', 'lost' or 'failed', one after the other; or 'parked' alone
-- Returns {now, cursor, {place, at, counts, message, error, id, recorded}, ...}: cursor for the next call where there is one
-- place, '0' when that has no more; recorded is how many records there are of it.
-- O(limit * log(n) + skip of ready messages). Of parked messages it may return a few more than `limit`.
-- Needs: now, queue
local q = queue_at(1)
local limit, skip, after, newest = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
local most, records = tonumber(ARGV[5]), tonumber(ARGV[6])
local answer = {now_ms(), '0'}

-- "reason at|record\nrecord..." with so many records as are asked for, and how many there are.
local function records_of(last)
  local bar = string.find(last, '|', 1, true)
  if not bar or bar == #last then return last, 0 end
  local _, breaks = string.gsub(last, '\n', '')
  local stop = bar
  for _ = 1, records do
    stop = string.find(last, '\n', stop + 1, true)
    if not stop then return last, breaks + 1 end
  end
  return string.sub(last, 1, records == 0 and bar or stop - 1), breaks + 1
end

local function add(place, id, at)
  local message = redis.call('HGET', q.messages, id) or ''
  local last, recorded = records_of(redis.call('HGET', q.errors, id) or '')
  if most > 0 then message = string.sub(message, 1, most) end
  answer[#answer + 1] = {place, at, redis.call('HGET', q.counts, id) or '', message, last, id, recorded}
  limit = limit - 1
end

-- Whether an id stands before another among equal scores. Lua compares by the locale, Redis by bytes.
local function stands_before(id, other)
  for i = 1, math.min(#id, #other) do
    local one, two = string.byte(id, i), string.byte(other, i)
    if one ~= two then return one < two end
  end
  return #id < #other
end

-- How many members stand before the one last seen, and whether it is still there; it may have left, or moved.
local function rank_of(zset, score, id)
  local now_at = redis.call('ZSCORE', zset, id)
  if now_at and tonumber(now_at) == tonumber(score) then return redis.call('ZRANK', zset, id), true end
  local low, high = redis.call('ZCOUNT', zset, '-inf', '(' .. score), redis.call('ZCOUNT', zset, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if stands_before(redis.call('ZRANGE', zset, middle, middle)[1], id) then low = middle + 1 else high = middle end
  end
  return low, false
end

local function show_parked()
  local found = redis.call('HSCAN', q.parked, after == '' and '0' or after, 'COUNT', limit)
  answer[2] = found[1]
  for j = 1, #found[2], 2 do add('parked', found[2][j], '0') end
end

local function show_ready()
  local size = redis.call('LLEN', q.ready)
  if after ~= '' then skip = tonumber(after) end
  local from, to = skip, skip + limit - 1
  if newest then from, to = -skip - limit, -skip - 1 end
  local ids = redis.call('LRANGE', q.ready, from, to)
  for j = 1, #ids do add('ready', ids[newest and #ids + 1 - j or j], '0') end
  if skip + #ids < size then answer[2] = string.format('%.0f', skip + #ids) end
  return size
end

local function show_scored(place)
  local zset = q[place]
  local size = redis.call('ZCARD', zset)
  if after ~= '' then
    local score, id = string.match(after, '^(%S+) (.*)$')
    local rank, is_there = rank_of(zset, score, id)
    skip = newest and size - rank or rank + (is_there and 1 or 0)
  end
  local found
  if newest then
    found = redis.call('ZREVRANGE', zset, skip, skip + limit - 1, 'WITHSCORES')
  else
    found = redis.call('ZRANGE', zset, skip, skip + limit - 1, 'WITHSCORES')
  end
  for j = 1, #found, 2 do add(place, found[j], found[j + 1]) end
  if #found > 0 and skip + #found / 2 < size then answer[2] = found[#found] .. ' ' .. found[#found - 1] end
  return size
end

for i = 7, #ARGV do
  local place = ARGV[i]
  if place == 'parked' then
    show_parked()
  elseif limit > 0 then
    skip = math.max(skip - (place == 'ready' and show_ready() or show_scored(place)), 0)
  end
end
return answer
