-- Remove a message that has not started; it never runs after that. Or ask who runs it to stop.
--
-- KEYS[1..12] queue    see QueueKeys.block
-- KEYS[13]    memo     string  this session's last call
-- KEYS[14]    outcome  string  of the message
-- KEYS[15]    asked    string  mark that its run is to be stopped
-- KEYS[16]    kept     string  its checkpoint
-- ARGV[1]     number   int     of this call in its session
-- ARGV[2]     id       text
-- ARGV[3]     keep_for int     ms to remember that it was cancelled; 0: not at all
-- ARGV[4]     outcome  JSON    what is remembered
-- ARGV[5]     running  0|1     1: a run of it is asked to stop, too
-- ARGV[6]     mark_for int     ms for which that is remembered
-- Returns 1 when it was removed, now or before, 2 when its run is asked to stop, -1 when it had finished and its outcome was
-- deleted, 0 when it is running or not known.
-- O(ready) at worst; a message that was put in lately is found from the near end.
-- Needs: queue, check, memo, header, publish
local q, memo = queue_at(1), KEYS[13]
local number, id, keep_for, outcome = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local answer = recall(memo, number)
if answer then return answer end
check(q, true)
answer = 0
if redis.call('ZREM', q.scheduled, id) == 1 or redis.call('HDEL', q.parked, id) == 1
  or (redis.call('HEXISTS', q.messages, id) == 1 and not redis.call('ZSCORE', q.leased, id)
      and redis.call('LREM', q.ready, -1, id) == 1) then
  redis.call('HDEL', q.messages, id)
  redis.call('HDEL', q.counts, id)
  redis.call('HDEL', q.errors, id)
  redis.call('DEL', KEYS[16])
  redis.pcall('HINCRBY', q.stats, 'cancelled', 1)
  if keep_for > 0 then redis.call('SET', KEYS[14], outcome, 'PX', keep_for) end
  publish(q, id, 'cancelled')
  publish(q, '', 'done 1')
  answer = 1
elseif ARGV[5] == '1' and redis.call('ZSCORE', q.leased, id) then
  -- The mark names the message by its instant: it holds for a run after a crash, and not for a later message of that id.
  local available_at = header_of(redis.call('HGET', q.messages, id) or '') or '0'
  redis.call('SET', KEYS[15], available_at, 'PX', tonumber(ARGV[6]))
  answer = 2
elseif redis.call('HEXISTS', q.messages, id) == 0 then
  local kept = redis.call('GET', KEYS[14])
  if kept == outcome then
    answer = 1
  elseif kept then
    redis.call('DEL', KEYS[14])
    answer = -1
  end
end
if answer ~= 0 then remember(memo, number, answer) end
return answer
