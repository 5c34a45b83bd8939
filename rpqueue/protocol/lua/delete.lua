-- Delete one message for good, wherever it is, unless it is leased.
--
-- KEYS[1..12] queue      see QueueKeys.block
-- KEYS[13]    memo       string  this session's last call
-- KEYS[14]    outcome    string  of the message
-- KEYS[15]    progress   string  of the message
-- KEYS[16]    checkpoint string  of the message
-- ARGV[1]     number     int     of this call in its session
-- ARGV[2]     id         text
-- ARGV[3]     keep_for   int     ms to remember of what waited that it was cancelled; 0: not at all
-- ARGV[4]     cancelled  JSON    what is remembered then
-- Returns where it was: 'ready', 'scheduled', 'parked', 'dead', 'lost', 'failed'; 'done' when only its outcome or a note was
-- left, which is gone now; 'leased' when it is in somebody's hands and was left there; 'gone' when nothing is known of it.
-- O(ready) at worst; a message that was put in lately is found from the near end. Begins with a freeing write: works at
-- maxmemory.
-- Needs: queue, check, memo, publish
local q, memo, outcome = queue_at(1), KEYS[13], KEYS[14]
local number, id, keep_for, cancelled = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local place = recall(memo, number)
if place then return place end
check(q, true)
if redis.call('ZSCORE', q.leased, id) then return 'leased' end

-- Takes it out of the place where it is, and says which.
local function take_out()
  for _, zset in ipairs({'scheduled', 'dead', 'lost', 'failed'}) do
    if redis.call('ZREM', q[zset], id) == 1 then return zset end
  end
  if redis.call('HDEL', q.parked, id) == 1 then return 'parked' end
  if redis.call('HEXISTS', q.messages, id) == 1 and redis.call('LREM', q.ready, -1, id) == 1 then return 'ready' end
end

place = take_out()
if place then
  redis.call('HDEL', q.messages, id)
  redis.call('HDEL', q.counts, id)
  redis.call('HDEL', q.errors, id)
  redis.call('DEL', outcome, KEYS[15], KEYS[16])
  local waited = place == 'ready' or place == 'scheduled' or place == 'parked'
  redis.pcall('HINCRBY', q.stats, waited and 'cancelled' or 'purged', 1)
  if waited then
    -- Somebody may wait for it.
    if keep_for > 0 then redis.call('SET', outcome, cancelled, 'PX', keep_for) end
    publish(q, id, 'cancelled')
    publish(q, '', 'done 1')
  end
elseif redis.call('DEL', outcome, KEYS[15], KEYS[16]) > 0 then
  place = 'done'
else
  return 'gone'
end
remember(memo, number, place)
return place
