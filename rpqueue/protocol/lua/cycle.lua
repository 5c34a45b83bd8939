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
-- ARGV[10..n]  queues        for every queue: its name, the number of plain acks (ids under token 1) and those ids, the
--                            number of full acks and for each: id, token, ms to keep the outcome (0: none), outcome
-- Returns {now, stale, claimed, due, ready, hands}: stale ids whose ack came too late as {queue number, id}; claimed
-- messages as {queue number, id, token, message, tries}, in order, tries (deliveries that failed or crashed before) left
-- out when 0; due the next instant (ms) at which one of these queues needs a hand, or 0; ready and hands up to 16 names in
-- the index: of the most urgent queues with ready messages, and their priority; of queues with due ones.
-- O(acks + (claimed + promoted + reaped) * log(leased)). Begins with a freeing write: works at maxmemory.
-- Needs: now, queue, memo, header, counts, wake, publish, index, bury, promote, end_lease, reap, ack, claim
local number, worker_ttl, wanted, starting = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local limit, indexed, yields, count = tonumber(ARGV[5]), ARGV[8] ~= '0', ARGV[8] == '2', tonumber(ARGV[9])
local rules = {kind = 'tasks', poison = tonumber(ARGV[6]), keep = tonumber(ARGV[7])}
local first_queue = indexed and 6 or 2
local now = now_ms()

-- Unpack what was said of each queue.
local queues, at, outcome_key = {}, 10, first_queue + 12 * count
for n = 1, count do
  local plain = tonumber(ARGV[at + 1])
  local ids, tokens, keeps = {}, {}, {}
  for i = 1, plain do
    ids[i], tokens[i] = ARGV[at + 1 + i], 1
  end
  local name = ARGV[at]
  at = at + 2 + plain
  for i = plain + 1, plain + tonumber(ARGV[at]) do
    ids[i], tokens[i] = ARGV[at + 1], ARGV[at + 2]
    if ARGV[at + 3] ~= '0' then
      keeps[i] = {key = KEYS[outcome_key], ttl = ARGV[at + 3], outcome = ARGV[at + 4]}
      outcome_key = outcome_key + 1
    end
    at = at + 4
  end
  at = at + 1
  queues[n] = {q = queue_at(first_queue + 12 * (n - 1)), name = name, ids = ids, tokens = tokens, keeps = keeps}
end

local function as_number(priority)
  return priority and tonumber(priority) or math.huge -- some builds of Lua cannot read 'inf'
end

-- The numbers of the queues by their priority of this moment, which may have changed since the caller asked; those of
-- equal priority stay in the caller's order. Without the index that order holds for all. Also the priorities.
local function by_priority()
  local order, names, priorities = {}, {}, {}
  for n = 1, count do order[n], names[n] = n, queues[n].name end
  if indexed and count > 0 then
    priorities = redis.call('ZMSCORE', KEYS[2], unpack(names))
    for n = 1, count do priorities[n] = as_number(priorities[n]) end
    table.sort(order, function(a, b)
      if priorities[a] ~= priorities[b] then return priorities[a] < priorities[b] end
      return a < b
    end)
  end
  return order, priorities
end

-- The best priority among queues that the caller did not name and that have due messages.
local function first_of_due()
  local named, first = {}, math.huge
  for n = 1, count do named[queues[n].name] = true end
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 16)) do
    if not named[name] then first = math.min(first, as_number(redis.call('ZSCORE', KEYS[2], name))) end
  end
  return first
end

local stale, claimed = {}, {}
local before = recall(KEYS[1], number)
if before then
  -- Sent again: nothing is done twice; what was claimed then and is still held is handed out again.
  stale = before[1]
  for _, lease in ipairs(before[2]) do
    local id, token, n = lease[2], lease[3], lease[4]
    local q = queues[n].q
    if held(q, {id}, {token})[1] then
      claimed[#claimed + 1] = {n, id, token, redis.call('HGET', q.messages, id), tries_of(q, id)}
    end
  end
else
  -- The round before got its answer. Begins with a freeing write, so that any round works at maxmemory.
  redis.call('DEL', KEYS[1])
  local leases, changed = {}, false
  for n = 1, count do
    local queue = queues[n]
    local q, ids = queue.q, queue.ids
    if #ids > 0 then
      changed = true
      local answers, finished = ack(q, ids, queue.tokens), 0
      for i, id in ipairs(ids) do
        if not answers[i] then
          stale[#stale + 1] = {n, id}
        else
          finished = finished + 1
          local keep = queue.keeps[i]
          if keep then
            redis.call('SET', keep.key, keep.outcome, 'PX', keep.ttl)
            publish(q, id, 'done')
          end
        end
      end
      if finished > 0 then publish(q, '', 'done ' .. finished) end
    end
    if promote(q, now, limit) + reap(q, now, limit, rules) > 0 and yields then reindex(q, queue.name, 2) end
  end
  local order, priorities = by_priority()
  local due_first = yields and wanted > 0 and first_of_due() or math.huge
  for _, n in ipairs(order) do
    local q = queues[n].q
    local first = yields and as_number(redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]) or math.huge
    if wanted == 0 or math.min(first, due_first) < (priorities[n] or math.huge) then break end
    local got = claim(q, wanted, now, worker_ttl, true)
    wanted = wanted - #got
    if #got > 0 then
      changed = true
      if yields then reindex(q, queues[n].name, 2) end
      redis.call('HINCRBY', q.stats, 'claimed', #got)
      for _, lease in ipairs(got) do
        claimed[#claimed + 1] = {n, lease[1], lease[2], lease[3], lease[4]}
        leases[#leases + 1] = {queues[n].name, lease[1], lease[2], n}
        local _, _, _, flags = header_of(lease[3])
        if flags and #claimed <= starting and has(flags, WATCHED) then publish(q, lease[1], 'started') end
      end
    end
  end
  if changed then remember(KEYS[1], number, {stale, leases}) end
end

-- Say what is left to do, and wake another worker for it.
local due, left = 0, false
for n = 1, count do
  local next_at, ready = reindex(queues[n].q, queues[n].name, indexed and 2 or #KEYS + 1)
  if next_at and (due == 0 or next_at < due) then due = next_at end
  if ready then
    left = true
    wake(queues[n].q.wake, queues[n].name)
  end
end
local ready, hands = {}, {}
if indexed then
  -- Where many queues are equally first, another part of them is told each time, so that none starves.
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
  local equal = first and redis.call('ZCOUNT', KEYS[3], first, first) or 0
  local from = equal > 16 and tonumber(number) % equal or 0
  ready = redis.call('ZRANGE', KEYS[3], from, from + 15, 'WITHSCORES')
  if from + 15 >= equal and from > 0 then
    local round = redis.call('ZRANGE', KEYS[3], 0, from + 15 - equal, 'WITHSCORES')
    for i = 1, 2 * (equal - from) do round[#round + 1] = ready[i] end
    ready = round
  end
  hands = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 16)
  local earliest = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
  earliest = earliest and tonumber(earliest)
  if earliest and (due == 0 or earliest < due) then due = earliest end
  -- A worker that goes to work passes on what it leaves, and the watch over what is due soon.
  if #ready > 0 or (#claimed > 0 and due > 0 and due < now + 2000) then wake(KEYS[5], ready[1] or '') end
elseif #claimed > 0 and due > 0 and due < now + 2000 and not left then
  wake(queues[1].q.wake, queues[1].name)
end
return {now, stale, claimed, due, ready, hands}
