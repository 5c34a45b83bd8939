-- Make a scheduled message due at another instant: later, earlier, or now.
--
-- KEYS[1..12] queue    see QueueKeys.block
-- KEYS[13]    memo     string  this session's last call
-- KEYS[14..17] index   queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     number   int     of this call in its session
-- ARGV[2]     name     text    of the queue
-- ARGV[3]     id       text
-- ARGV[4]     due      int     ms since the epoch, or from now on
-- ARGV[5]     from_now 0|1     1: it is from now on
-- Returns where it is: 'scheduled', or 'ready' when that instant has come. Another text when it is not scheduled: then nothing
-- was written.
-- O(log(scheduled)). Begins with a freeing write: works at maxmemory.
-- Needs: now, queue, check, memo, header, wake, head, index
local q, memo = queue_at(1), KEYS[13]
local number, name, id, due = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local place = recall(memo, number)
if place then return place end
check(q, true)
local was = redis.call('ZSCORE', q.scheduled, id)
if not was then return 'elsewhere' end
local now = now_ms()
if ARGV[5] == '1' then due = now + due end
place = due > now and 'scheduled' or 'ready'

redis.call('ZREM', q.scheduled, id)
-- A header says when its message is available first, which changes with this. It stays as it is once the message was
-- delivered: it is then scheduled at another instant than that, and marks and notes of its runs name it by its header.
local message = redis.call('HGET', q.messages, id)
local available_at = message and header_of(message)
if available_at and tonumber(available_at) == math.floor(tonumber(was)) then
  local version = string.match(message, '^%d+ ')
  local rest = string.sub(message, #version + #available_at + 1)
  redis.call('HSET', q.messages, id, version .. instant(math.max(due, now)) .. rest)
end
if place == 'ready' then
  redis.call('RPUSH', q.ready, id)
else
  redis.call('ZADD', q.scheduled, instant(due), id)
end
reindex(q, name, 14)
-- Workers wait until what is due first; it may be this one now.
if place == 'ready' or due < tonumber(was) then wake_workers(q, name, KEYS[17]) end
remember(memo, number, place)
return place
