-- A leased message failed: schedule its next delivery, bury it when it has none left, or forget it.
--
-- KEYS[1..12] queue    see QueueKeys.block
-- KEYS[13]    memo     string  this session's last call
-- KEYS[14]    outcome  string  of the message
-- KEYS[15..18] index   queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     number   int     of this call in its session
-- ARGV[2]     id       text
-- ARGV[3]     token    int
-- ARGV[4]     delay    int     ms until the next delivery; 0: ready at once
-- ARGV[5]     error    JSON    object that says what happened, or empty
-- ARGV[6]     reason   text    'failed', or 'undecodable', which has no further delivery
-- ARGV[7]     kind     text    'tasks' or 'data'
-- ARGV[8]     poison   int     crashes after which a message is buried; 0: never
-- ARGV[9]     keep     int     failed messages of one queue to keep; 0: none
-- ARGV[10]    name     text    of the queue
-- ARGV[11]    again    text    'auto': its attempts say whether it is delivered again; 'retry': it is; 'stop': it is not;
--                              'drop': it is not, and is not kept; 'cancel': the same, and it counts as cancelled
-- ARGV[12]    history  int     most records of failures to keep of it, 1 or greater
-- ARGV[13]    keep_for int     ms to keep the outcome of what is dropped or cancelled; 0: not at all
-- ARGV[14]    ended    JSON    that outcome, or empty
-- Returns where the message went: 'ready', 'scheduled', 'dead', 'failed', 'dropped' or 'cancelled'; 'stale' when the token
-- holds no lease.
-- O(log(leased)). Begins with a freeing write: works at maxmemory.
-- Needs: now, queue, check, memo, header, tally, counts, held, wake, publish, head, index, bury, record, end_lease
local q, memo, outcome = queue_at(1), KEYS[13], KEYS[14]
local number, id, token, delay, error_json, reason = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local rules = {kind = ARGV[7], poison = tonumber(ARGV[8]), keep = tonumber(ARGV[9])}
local again, history, keep_for, ended = ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13]), ARGV[14]
local verdict = recall(memo, number)
if verdict then return verdict end
check(q, true)
local now = now_ms()
if not held(q, {id}, {token})[1] then
  -- pcall: at maxmemory the stale, too, get their answer, even if they cannot be counted.
  redis.pcall('HINCRBY', q.stats, 'stale', 1)
  return 'stale'
end

local function forget(place)
  redis.call('HDEL', q.messages, id)
  redis.call('HDEL', q.counts, id)
  redis.call('HDEL', q.errors, id)
  if keep_for > 0 then redis.call('SET', outcome, ended, 'PX', keep_for) end
  publish(q, id, place)
end

redis.call('ZREM', q.leased, id)
if again == 'cancel' then
  forget('cancelled')
  verdict = 'cancelled'
  redis.pcall('HINCRBY', q.stats, 'cancelled', 1)
elseif again == 'drop' then
  forget('failed')
  verdict = 'dropped'
else
  record(q, id, reason, now, error_json, history)
  local counts = counts_of(q, id)
  counts.failures = counts.failures + 1
  if reason == 'undecodable' then
    counts.fence = counts.fence + 1
    write_counts(q, id, counts)
    bury(q, id, 'dead', reason, now, 0, 0)
    verdict = 'dead'
  else
    verdict = end_lease(q, id, counts, rules, now, reason, delay, false, again)
  end
end
if again ~= 'cancel' then redis.pcall('HINCRBY', q.stats, 'errors', 1) end
publish(q, '', 'done 1')
if verdict == 'ready' or verdict == 'scheduled' then
  reindex(q, ARGV[10], 15)
  wake_workers(q, ARGV[10], KEYS[18])
end
remember(memo, number, verdict)
return verdict
