-- Put new messages into a queue, ready now or scheduled for later.
--
-- KEYS[1..12] queue         see QueueKeys.block
-- KEYS[13]    memo          string  this session's last call
-- KEYS[14]    queues        zset    known queues and their priorities (a data queue: data_queues)
-- KEYS[15]    ready_queues  zset    tasks only; KEYS[14..17] are left out on Cluster
-- KEYS[16]    due_queues    zset    tasks only
-- KEYS[17]    app_wake      list    tasks only
-- ARGV[1]     number        int     of this call in its session
-- ARGV[2]     name          text    of the queue
-- ARGV[3]     delay         text    ms until the messages are due, 0: ready now; or @ and the instant (ms), now if it is past
-- ARGV[4]     tail          text    of the header: see header_tail()
-- ARGV[5]     chosen        0|1     1: a user chose the ids, so they may come again after they are done
-- ARGV[6]     most          int     messages that the queue may hold, ready, scheduled, leased and parked; 0: no limit
-- ARGV[7..n]  messages      id, body, id, body, ...
-- Returns now (ms). {-1, size} when the queue, which holds so many, has no room for all of these; nothing was written. A chosen id that the queue already holds with the same body stays as it is; with another body the
-- reply is {0, id} and nothing was written. One that was given up (dead, lost or failed) leaves its grave and is new.
-- O(messages). Begins with a growing write: refused whole at maxmemory.
-- Needs: now, queue, check, memo, tally, counts, sift, wake, head, index
local q, memo = queue_at(1), KEYS[13]
local number, name, tail, chosen, most = ARGV[1], ARGV[2], ARGV[4], ARGV[5] == '1', tonumber(ARGV[6])
local done = recall(memo, number)
if done then return done end
local now = now_ms()
local delay = tonumber(ARGV[3]) or math.max(tonumber(string.sub(ARGV[3], 2)) - now, 0)

local header = string.format('1 %.0f', now + delay) .. tail .. '|'
local fresh, fields, fences, graves = {}, {}, {}, {}
if chosen then
  check(q, true)
  local taken
  fresh, fields, fences, graves, taken = sift(q, header, now, 7)
  if taken then return {0, taken} end
else
  for i = 7, #ARGV, 2 do
    fresh[(i - 5) / 2], fields[i - 6], fields[i - 5] = ARGV[i], ARGV[i], header .. ARGV[i + 1]
  end
end

if most > 0 and #fresh > 0 then
  local size = redis.call('LLEN', q.ready) + redis.call('ZCARD', q.scheduled) + redis.call('ZCARD', q.leased)
    + redis.call('HLEN', q.parked)
  if size + #fresh > most then return {-1, size} end
end

if #fresh > 0 then
  -- These reads also refuse keys of a wrong type before anything is written.
  local was_ready, was_due = redis.call('LLEN', q.ready) > 0, next_due(q)
  redis.call('HSET', q.messages, unpack(fields))
  if chosen then redis.call('HSET', q.counts, unpack(fences)) end
  if delay > 0 then
    -- Fractions of a millisecond keep messages of one call in order.
    local dues = {}
    for i, id in ipairs(fresh) do dues[2 * i - 1], dues[2 * i] = now + delay + (i - 1) / 4096, id end
    redis.call('ZADD', q.scheduled, unpack(dues))
  else
    redis.call('RPUSH', q.ready, unpack(fresh))
  end
  for _, id in ipairs(graves) do
    redis.call('ZREM', q.dead, id)
    redis.call('ZREM', q.lost, id)
    redis.call('ZREM', q.failed, id)
    redis.call('HDEL', q.errors, id)
  end
  redis.pcall('HINCRBY', q.stats, 'seen', #fresh)
  local news = delay == 0 and not was_ready or delay > 0 and (not was_due or now + delay < was_due)
  if news then
    if KEYS[15] then
      -- Known from its first message on, even if that is not due yet.
      redis.pcall('ZADD', KEYS[14], 'NX', 'inf', name)
      if delay > 0 then index_due(name, 14, now + delay) else index_ready(name, 14, true) end
    elseif KEYS[14] then
      redis.pcall('ZADD', KEYS[14], 0, name)
    end
    wake_workers(q, name, KEYS[17])
  end
end
remember(memo, number, now)
return now
