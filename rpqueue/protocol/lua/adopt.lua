-- Take over what version 0.33 of this package has put into one queue: out of its keys and into ours, each message whole.
--
-- KEYS[1..12] queue          see QueueKeys.block
-- KEYS[13]    memo           string  this session's last call
-- KEYS[14]    schedules      hash  of the queue
-- KEYS[15]    old_messages   hash  id -> message of 0.33
-- KEYS[16]    old_place      list, zset or hash that the caller has read the entries from
-- KEYS[17]    old_scheduled  zset  id -> due, s; of a data queue the same as old_invisible
-- KEYS[18]    old_invisible  zset  id -> expiry, s
-- KEYS[19]    old_recurring  zset  id -> last slot, s
-- KEYS[20..21] old_lists     list  ids that are ready; of a data queue twice the same
-- KEYS[22..n] index          queues, ready_queues, due_queues, wake of the app; for a data queue data_queues
-- ARGV[1]     number         int   of this call in its session
-- ARGV[2]     name           text  of the queue
-- ARGV[3]     from           text  what old_place is: 'list', 'scheduled', 'invisible', or 'nowhere' for messages in no place
-- ARGV[4]     dry            0|1   1: write nothing
-- ARGV[5..n]  rows           verb, entry, sha, id, message, ... 'move': the message of id `entry`, whose SHA-1 was `sha`, is
--                            `message` here; 'spent': the same, and it has no delivery left; 'slot': it is the next firing of
--                            recurring task `id`, at `message` (ms); 'bury': `entry` itself is a dead letter, here `message`
--                            under `id`; 'empty': `entry` has no message
-- Returns a word for each row: where it is now ('ready', 'scheduled', 'leased', 'dead'), 'slot', 'empty' when nothing stood
-- behind it, 'same' when the queue had it already, 'taken' when another message has its id, 'changed' when it is not any more
-- what the caller read. Of the last two nothing was touched.
-- O(rows * log(queue)). At maxmemory it is refused whole, or done whole.
-- Needs: now, queue, memo, publish, wake, head, index
local q = queue_at(1)
local memo, schedules, old_messages, old_place = KEYS[13], KEYS[14], KEYS[15], KEYS[16]
local old_scheduled, old_invisible, old_recurring = KEYS[17], KEYS[18], KEYS[19]
local number, name, from, dry = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local done = recall(memo, number)
if done then return done end
local now = now_ms()
local counts = {ready = 0, scheduled = 0, leased = 0, dead = 0}
local answers = {}

-- These reads refuse keys of a wrong type before anything is written.
redis.call('LLEN', q.ready)
redis.call('HLEN', q.errors)
redis.call('HLEN', schedules)
local last_death = tonumber(redis.call('ZRANGE', q.dead, -1, -1, 'WITHSCORES')[2] or 0)
for _, place in ipairs({'scheduled', 'leased', 'lost', 'failed'}) do redis.call('ZCARD', q[place]) end
local died = math.max(now, last_death)

local function take_out(id)
  if dry then return end
  redis.call('HDEL', old_messages, id)
  if from == 'list' then redis.call('LREM', old_place, 1, id) end
  redis.call('ZREM', old_scheduled, id)
  redis.call('ZREM', old_invisible, id)
  redis.call('ZREM', old_recurring, id)
end

-- Where the message is to go, and at what score; nil when it is not where the caller found it.
local function destination(id)
  local invisible, scheduled = redis.call('ZSCORE', old_invisible, id), redis.call('ZSCORE', old_scheduled, id)
  if from == 'invisible' then return invisible and 'leased', invisible end
  if invisible then return nil end
  if from == 'scheduled' then return scheduled and 'scheduled', scheduled end
  if from == 'nowhere' then
    local listed = redis.call('LPOS', KEYS[20], id) or redis.call('LPOS', KEYS[21], id)
    if scheduled or listed then return nil end
  end
  return 'ready'
end

-- Whether the queue holds that id: nil when not, else 'same' or 'taken'.
local function held_here(id, message)
  local present = redis.call('HGET', q.messages, id)
  if not present then return nil end
  local buried = redis.call('ZSCORE', q.dead, id) or redis.call('ZSCORE', q.lost, id) or redis.call('ZSCORE', q.failed, id)
  return not buried and string.match(present, '|(.*)$') == string.match(message, '|(.*)$') and 'same' or 'taken'
end

local function settle(place, score, id, message)
  counts[place] = counts[place] + 1
  if dry then return end
  redis.call('HSET', q.messages, id, message)
  -- An id that is no UUID was chosen, and may have been used before. So its first token must be greater than any it had then.
  if #id ~= 36 then redis.call('HSET', q.counts, id, string.format('%.0f 0 0 0', now)) end
  if place == 'ready' then
    redis.call('RPUSH', q.ready, id)
  elseif place == 'dead' then
    died = died + 1 / 4096 -- in the order of the old list
    redis.call('ZADD', q.dead, died, id)
    redis.call('HSET', q.errors, id, string.format('expired %.0f|', now))
  else
    redis.call('ZADD', q[place], string.format('%.3f', score * 1000), id)
  end
end

local function move(id, sha, message, spent)
  local raw = redis.call('HGET', old_messages, id)
  if not raw or redis.sha1hex(raw) ~= sha then return 'changed' end
  local place, score = destination(id)
  if not place then return 'changed' end
  if spent and place == 'ready' then place = 'dead' end
  local present = held_here(id, message)
  if present == 'taken' then return 'taken' end
  if not present then settle(place, score, id, message) end
  take_out(id)
  return present or place
end

local function slot(id, sha, at)
  local raw = redis.call('HGET', old_messages, id)
  if not raw or redis.sha1hex(raw) ~= sha then return 'changed' end
  if not dry then redis.call('HSETNX', schedules, id, at) end
  take_out(id)
  return 'slot'
end

local function bury_letter(entry, id, message)
  if not dry and not redis.call('LPOS', old_place, entry) then return 'changed' end
  local present = redis.call('HGET', q.messages, id)
  if present and string.match(present, '|(.*)$') ~= string.match(message, '|(.*)$') then return 'taken' end
  if not present then settle('dead', nil, id, message) end
  if not dry then redis.call('LREM', old_place, 1, entry) end
  return present and 'same' or 'dead'
end

for i = 5, #ARGV, 5 do
  local verb, entry, sha, id, message = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local answer
  if verb == 'bury' then
    answer = bury_letter(entry, id, message)
  elseif verb == 'slot' then
    answer = slot(entry, sha, message)
  elseif verb == 'empty' then
    answer = redis.call('HEXISTS', old_messages, entry) == 1 and 'changed' or 'empty'
    if answer == 'empty' then take_out(entry) end
  else
    answer = move(entry, sha, message, verb == 'spent')
  end
  answers[#answers + 1] = answer
end

local moved = counts.ready + counts.scheduled + counts.leased + counts.dead
if moved > 0 and not dry then
  redis.pcall('HINCRBY', q.stats, 'seen', moved)
  if counts.dead > 0 then
    redis.pcall('HINCRBY', q.stats, 'dead', counts.dead)
    publish(q, '', 'dead ' .. counts.dead)
  end
  if KEYS[23] then
    redis.call('ZADD', KEYS[22], 'NX', 'inf', name)
    reindex(q, name, 22)
    if counts.ready > 0 then wake(KEYS[25], name) end
  else
    redis.call('ZADD', KEYS[22], 0, name)
  end
  if moved > counts.dead then wake(q.wake, name) end
end
if not dry then remember(memo, number, answers) end
return answers
