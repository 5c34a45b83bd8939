-- Put new messages under random ids into a queue, ready now: the way by which nearly all messages come.
--
-- KEYS[1]      messages      hash    of the queue, as are ready, stats and wake
-- KEYS[2]      ready         list
-- KEYS[3]      stats         hash
-- KEYS[4]      wake          list
-- KEYS[5]      memo          string  this session's last call
-- KEYS[6]      queues        zset    known queues and their priorities (a data queue: data_queues)
-- KEYS[7]      ready_queues  zset    tasks only; KEYS[6..8] are left out on Cluster
-- KEYS[8]      app_wake      list    tasks only
-- ARGV[1]      number        int     of this call in its session
-- ARGV[2]      name          text    of the queue
-- ARGV[3]      tail          text    of the header: see header_tail()
-- ARGV[4..n]   messages      id, body, id, body, ...
-- Returns now (ms).
-- O(messages). Begins with a growing write: refused whole at maxmemory.
-- Needs: now, memo, wake
local number, name = ARGV[1], ARGV[2]
local done = recall(KEYS[5], number)
if done then return done end
local now = now_ms()
local header = string.format('1 %.0f', now) .. ARGV[3] .. '|'
local ids, fields = {}, {}
for i = 4, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
  fields[i - 3] = ARGV[i]
  fields[i - 2] = header .. ARGV[i + 1]
end

-- This also refuses a key of a wrong type before anything is written.
local was_empty = redis.call('LLEN', KEYS[2]) == 0
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('RPUSH', KEYS[2], unpack(ids))
redis.pcall('HINCRBY', KEYS[3], 'seen', #ids)
if was_empty then
  if KEYS[7] then
    -- pcall: see index.lua.
    local priority = redis.pcall('ZSCORE', KEYS[6], name)
    if type(priority) ~= 'string' then
      priority = 'inf'
      redis.pcall('ZADD', KEYS[6], priority, name)
    end
    redis.pcall('ZADD', KEYS[7], priority, name)
    wake(KEYS[8], name)
  elseif KEYS[6] then
    redis.pcall('ZADD', KEYS[6], 0, name)
  end
  wake(KEYS[4], name, not KEYS[6])
end
remember(KEYS[5], number, now)
return now
