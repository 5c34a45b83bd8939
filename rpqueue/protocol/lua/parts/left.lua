-- What a round leaves: the index kept true, another worker woken, and what it tells of queues that have work.

-- Keep the index true for the queues of a round, and wake another worker for what is ready in them. Returns the next
-- instant (ms) at which one of them needs a hand, or false, and whether something is ready. See reindex() and try().
local function leave(queues, first, now)
  local earliest, some_ready = false, false
  for n, queue in ipairs(queues) do
    local due, ready
    if not spoilt[n] then due, ready = try(n, reindex, queue.q, queue.name, first, queue.due) end
    if spoilt[n] then
      due = now + SET_ASIDE
      index_ready(queue.name, first, false)
      index_due(queue.name, first, due)
    end
    earliest = earlier(earliest, due)
    if ready then
      some_ready = true
      wake(queue.q.wake, queue.name, not KEYS[first])
    end
  end
  return earliest, some_ready
end

-- Up to 16 of the most urgent queues with ready messages: names and priorities in turn. Where more are equally first,
-- another part of them is told to each `number`, so that none starves.
local function first_ready(first, number)
  local ready = redis.call('ZRANGE', KEYS[first + 1], 0, 15, 'WITHSCORES')
  if #ready < 32 or ready[2] ~= ready[32] then return ready end
  local equal = redis.call('ZCOUNT', KEYS[first + 1], ready[2], ready[2])
  local from = tonumber(number) % equal
  local round = redis.call('ZRANGE', KEYS[first + 1], from, math.min(from + 15, equal - 1), 'WITHSCORES')
  for i = 1, 32 - #round do round[#round + 1] = ready[i] end
  return round
end

-- Up to 16 queues that need a hand by now, and the first instant at which any does; nil: none will.
local function first_due(first, now)
  local listed, hands = redis.call('ZRANGE', KEYS[first + 2], 0, 15, 'WITHSCORES'), {}
  for i = 1, #listed, 2 do
    if tonumber(listed[i + 1]) > now then break end
    hands[#hands + 1] = listed[i]
  end
  local earliest = tonumber(listed[2])
  return hands, earliest and math.min(earliest, FARTHEST)
end
