-- Say that workers are alive, and forget those that were silent for long.
--
-- KEYS[1]     workers       hash    worker id -> JSON
-- KEYS[2]     beats         zset    worker id -> last beat, ms
-- ARGV[1]     forget_after  int     ms of silence after which a worker is forgotten
-- ARGV[2..n]  workers       id, JSON, ...; an empty JSON says that the worker has left
-- Returns {now, last} in ms; last: the latest beat that these workers had left here before, 0 when there is none.
-- O(workers). Sending it twice does no harm. Begins with a freeing write: works at maxmemory.
-- Needs: now
local workers, beats = KEYS[1], KEYS[2]
local now, last = now_ms(), 0
for i = 2, #ARGV, 2 do
  last = math.max(last, tonumber(redis.call('ZSCORE', beats, ARGV[i]) or 0))
end
-- Even when nobody was silent: '' is no worker, and whoever begins with a freeing write may go on at maxmemory.
local silent = redis.call('ZRANGEBYSCORE', beats, '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, 100)
redis.call('HDEL', workers, '', unpack(silent))
redis.call('ZREM', beats, '', unpack(silent))
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', workers, ARGV[i])
    redis.call('ZREM', beats, ARGV[i])
  else
    redis.call('HSET', workers, ARGV[i], ARGV[i + 1])
    redis.call('ZADD', beats, now, ARGV[i])
  end
end
return {now, last}
