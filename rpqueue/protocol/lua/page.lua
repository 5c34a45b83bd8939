-- Messages of a queue in the order of its places, some of them. Writes nothing.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- ARGV[1]     limit   int   most messages to return, 1..1000
-- ARGV[2]     skip    int   how many to pass over first
-- ARGV[3]     after   text  'SCORE ID' of the last message seen, when the one place is a zset; empty: none. Of 'parked', the
--                           cursor that the last call returned
-- ARGV[4..n]  places  text  'ready', 'scheduled', 'leased', 'dead', 'lost' or 'failed', one after the other; or 'parked' alone
-- Returns {now, cursor, {place, at, counts, message, error, id}, ...}: cursor for the next call about 'parked', else '0'.
-- O(limit * log(n) + skip of ready messages). Of parked messages it may return a few more than `limit`.
-- Needs: now, queue
local q = queue_at(1)
local limit, skip, after = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local answer = {now_ms(), '0'}

local function add(place, id, at)
  answer[#answer + 1] = {
    place, at, redis.call('HGET', q.counts, id) or '', redis.call('HGET', q.messages, id) or '',
    redis.call('HGET', q.errors, id) or '', id,
  }
  limit = limit - 1
end

-- The rank at which to go on: behind the message last seen; if that has left, behind all that are as old.
local function rank_after(zset)
  local score, id = string.match(after, '^(%S+) (.*)$')
  local rank = redis.call('ZSCORE', zset, id) and redis.call('ZRANK', zset, id)
  return rank and rank + 1 or redis.call('ZCOUNT', zset, '-inf', score)
end

for i = 4, #ARGV do
  local place = ARGV[i]
  if place == 'parked' then
    local found = redis.call('HSCAN', q.parked, after == '' and '0' or after, 'COUNT', limit)
    answer[2] = found[1]
    for j = 1, #found[2], 2 do add(place, found[2][j], '0') end
  elseif limit > 0 and place == 'ready' then
    local size = redis.call('LLEN', q.ready)
    for _, id in ipairs(redis.call('LRANGE', q.ready, skip, skip + limit - 1)) do add(place, id, '0') end
    skip = math.max(skip - size, 0)
  elseif limit > 0 then
    local zset = q[place]
    if after ~= '' then skip = rank_after(zset) end
    local pairs = redis.call('ZRANGE', zset, skip, skip + limit - 1, 'WITHSCORES')
    for j = 1, #pairs, 2 do add(place, pairs[j], pairs[j + 1]) end
    skip = math.max(skip - redis.call('ZCARD', zset), 0)
  end
end
return answer
