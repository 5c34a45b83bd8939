-- One round of a worker over some task queues: ack what is done, promote what is due, reap what expired, claim what fits.
--
-- KEYS[1]      memo          string  this worker's last round
-- KEYS[2..5]   index         queues, ready_queues, due_queues, wake of the app; not when ARGV[8] is 0
-- KEYS[..]     queue         one block of twelve (QueueKeys.block) for every queue; equal ones are claimed from in this order
-- KEYS[..]     outcomes      string  one for every ack that keeps an outcome, in the order of the acks
-- ARGV[1]      number        int     of this round in its session
-- ARGV[2]      worker_ttl    int     ms of lease that a claim gives, unless the message asks for less
-- ARGV[3]      wanted        int     most messages to claim, 0..1000
-- ARGV[4]      starting      int     how many of them start at once; the rest is claimed ahead
-- ARGV[5]      limit         int     most messages of one queue to promote, and to reap
-- ARGV[6]      poison        int     crashes after which a message is buried; 0: never
-- ARGV[7]      keep          int     failed messages of one queue to keep; 0: none
-- ARGV[8]      indexed       0..2    0: no index; 1: it is given; 2: it is, and nothing is claimed from a queue while one
--                                    that the index has, and the caller did not name, is to go before it
-- ARGV[9]      count         int     of queues
-- ARGV[10..n]  queues        for every queue: its name; of acks under token 1 the number of those without an outcome, of those
--                            with one, and the ms to keep these; the ids of all; the outcomes; the number of full acks and
--                            for each: id, token, ms to keep the outcome (0: none), outcome
-- Returns {now, stale, claimed, due, ready, hands, spoilt}: stale ids whose ack came too late as {queue number, id}; claimed
-- messages as {queue number, ids, messages, again}, one for each queue, in order: see pop(); due the next instant (ms) at
-- which one of these queues needs a hand, or 0; ready and hands up to 16 names in the index: of the most urgent queues with
-- ready messages, and their priority (without index the queue itself, if it has any); of queues with due ones; spoilt
-- {queue number, text} of those queues that have a key of a wrong type, 0 for the index: nothing was claimed there, acks may
-- have had no effect, and the others had their turn.
-- O(acks + (claimed + promoted + reaped) * log(leased)). Begins with a freeing write: works at maxmemory.
-- Needs: now, queue, check, try, memo, header, tally, counts, held, wake, publish, head, index, bury, promote, end_lease, reap, ack, claim, said, ack_all, order, still_held, left
local number, worker_ttl, wanted, starting = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local limit, indexed, yields, count = tonumber(ARGV[5]), ARGV[8] ~= '0', ARGV[8] == '2', tonumber(ARGV[9])
local rules = {kind = 'tasks', poison = tonumber(ARGV[6]), keep = tonumber(ARGV[7])}
local memo, index = KEYS[1], indexed and 2 or #KEYS + 1
local now, queues = now_ms(), said_of_queues(count, indexed and 6 or 2, 10)
local stale, claimed = {}, {}

local function claim_from(n)
  local queue = queues[n]
  local got, ends_at = claim(queue.q, wanted, now, worker_ttl, true)
  if not got then
    if yields then index_ready(queue.name, index, false) end -- its messages may have been cancelled
    return
  end
  queue.due = earlier(queue.due, ends_at)
  local ids, messages = got[1], got[2]
  claimed[#claimed + 1] = {n, ids, messages, got[3]}
  redis.pcall('HINCRBY', queue.q.stats, 'claimed', #ids)
  for i = 1, math.min(starting, #ids) do
    local _, _, _, flags = header_of(messages[i])
    if flags and has(flags, WATCHED) then publish(queue.q, ids[i], 'started') end
  end
  wanted, starting = wanted - #ids, starting - #ids
  if yields and wanted > 0 then index_ready(queue.name, index, redis.call('EXISTS', queue.q.ready) == 1) end
end

local function claim_in_order()
  local order, priorities = try(0, by_priority, queues, index)
  local due_first = yields and try(0, first_of_due, queues, index, now) or math.huge
  order = order or by_priority(queues, #KEYS + 1)
  for _, n in ipairs(order) do
    local ready_first = priorities and yields and try(0, first_of_ready, index)
    if ready_first and math.min(ready_first, due_first) < priorities[n] then break end
    if not spoilt[n] then try(n, claim_from, n) end
    if wanted == 0 then break end
  end
end

-- Ack, promote and reap. Returns whether there was something to ack.
local function tend(n, queue)
  local acked = ack_all(queue, n, stale)
  local _, due = promote(queue.q, now, limit)
  local _, expires = reap(queue.q, now, limit, rules)
  queue.due = earlier(due, expires) or false
  return acked
end

local before = recall(memo, number)
if before then
  -- Sent again: nothing is done twice; what was claimed then and is still held is handed out again.
  stale = before[1]
  for _, lease in ipairs(before[2]) do
    local n = lease[2]
    local got = try(n, function() return still_held(queues[n].q, lease[3], lease[4]) end)
    if got then claimed[#claimed + 1] = {n, unpack(got)} end
  end
else
  -- The round before got its answer. Begins with a freeing write, so that any round works at maxmemory.
  redis.call('DEL', memo)
  -- Who works here needs no token; see leave().
  if not indexed and wanted > 0 then redis.call('DEL', queues[1].q.wake) end
  local changed = false
  for n, queue in ipairs(queues) do
    changed = try(n, tend, n, queue) or changed
  end
  if wanted > 0 then claim_in_order() end
  if changed or #claimed > 0 then
    local leases = {}
    for i, got in ipairs(claimed) do leases[i] = {queues[got[1]].name, got[1], got[2], got[4]} end
    remember(memo, number, {stale, leases})
  end
end

-- Say what is left to do, and wake another worker for it.
local due, some_ready = leave(queues, index, now)
local ready, hands = {}, {}
if indexed then
  ready = try(0, first_ready, index, number) or ready
  local listed, earliest = try(0, first_due, index, now)
  hands, due = listed or hands, earlier(due, earliest)
elseif some_ready then
  ready = {queues[1].name, '0'}
end
-- A worker that goes to work passes on what it leaves, and the watch over what is due soon.
local watch = #claimed > 0 and due and due < now + 2000
if indexed and (#ready > 0 or watch) then
  wake(KEYS[index + 3], ready[1] or '')
elseif not indexed and watch and not some_ready then
  wake(queues[1].q.wake, queues[1].name, true)
end
local told = {}
for n, text in pairs(spoilt) do told[#told + 1] = {n, text} end
return {now, stale, claimed, due or 0, ready, hands, told}
