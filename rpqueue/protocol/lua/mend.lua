-- Look at one message with everything else standing still, say what is wrong with it, and mend that if asked to.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13..16] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     name    text    of the queue
-- ARGV[2]     kind    text    'tasks' or 'data'
-- ARGV[3]     id      text
-- ARGV[4]     mends   0|1     0: only say what would be done
-- ARGV[5]     misses  0|1     1: only look whether it has a message that is in no place, which saves a walk through `ready`
-- Returns {what, where}. What is wrong: 'fine'; 'no message', then all is deleted that is left of the id; 'twice', then it
-- stays where it is least likely to run a second time; 'nowhere', then it goes where its rules send one whose lease ran out,
-- and is never dropped. Where it is then: one of its places, or 'gone'.
-- O(ready) at worst, 25 ns for each. Sent twice, it mends once.
-- Needs: now, queue, header, tally, counts, wake, publish, head, index, bury
local q = queue_at(1)
local name, kind, id, mends, misses = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5] == '1'
local message = redis.call('HGET', q.messages, id)
if misses and not message then return {'fine', 'gone'} end

-- The first place of these is the one where it stays: whoever holds it goes on, what was given up is not run again, what
-- waits goes on waiting.
local places = {}
for _, zset in ipairs({'leased', 'dead', 'lost', 'failed'}) do
  if redis.call('ZSCORE', q[zset], id) then places[#places + 1] = zset end
end
if redis.call('HEXISTS', q.parked, id) == 1 then places[#places + 1] = 'parked' end
if redis.call('ZSCORE', q.scheduled, id) then places[#places + 1] = 'scheduled' end
if misses and #places > 0 then return {'fine', places[1]} end
local ready = #redis.call('LPOS', q.ready, id, 'COUNT', 0)
for _ = 1, ready do places[#places + 1] = 'ready' end

local function take_out(place)
  if place == 'ready' then
    redis.call('LREM', q.ready, -1, id) -- the last one
  elseif place == 'parked' then
    redis.call('HDEL', q.parked, id)
  else
    redis.call('ZREM', q[place], id)
  end
end

local function forget()
  for _, place in ipairs(places) do take_out(place) end
  redis.call('HDEL', q.counts, id)
  redis.call('HDEL', q.errors, id)
end

-- It may have been in somebody's hands: so that counts as a delivery that failed, and what may run once only is lost.
local function destination(counts)
  local available_at, lease, attempts = header_of(message)
  if not available_at then return 'dead' end
  if kind == 'tasks' and lease == 0 then return 'lost' end
  return counts.failures + counts.crashes + 1 < attempts and 'ready' or 'dead'
end

local function bring_back(place, counts)
  counts.fence, counts.failures = counts.fence + 1, counts.failures + 1
  write_counts(q, id, counts)
  if place == 'ready' then
    redis.call('RPUSH', q.ready, id)
  else
    bury(q, id, place, 'orphaned', now_ms(), 0, 0)
  end
end

local what, where = 'fine', places[1] or 'gone'
if not message then
  if #places > 0 or redis.call('HEXISTS', q.counts, id) == 1 or redis.call('HEXISTS', q.errors, id) == 1 then
    what, where = 'no message', 'gone'
    if mends then forget() end
  end
elseif #places > 1 then
  what = 'twice'
  for i = #places, 2, -1 do
    if mends then take_out(places[i]) end
  end
elseif #places == 0 then
  local counts = counts_of(q, id)
  what, where = 'nowhere', destination(counts)
  if mends then bring_back(where, counts) end
end
if mends and what ~= 'fine' then
  redis.call('HINCRBY', q.stats, 'mended', 1)
  local _, is_ready = reindex(q, name, 13)
  if is_ready then
    if KEYS[16] then wake(KEYS[16], name) end
    wake(q.wake, name)
  end
end
return {what, where}
