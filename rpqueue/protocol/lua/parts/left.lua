-- Keep the index true for the queues of a round, and wake another worker for what is ready in them. Returns the next
-- instant (ms) at which one of them needs a hand, or 0, and whether something is ready. See reindex() for `first`.
local function leave(queues, first)
  local due, some_ready = 0, false
  for _, queue in ipairs(queues) do
    local next_at, ready = reindex(queue.q, queue.name, first)
    if next_at and (due == 0 or next_at < due) then due = next_at end
    if ready then
      some_ready = true
      wake(queue.q.wake, queue.name)
    end
  end
  return due, some_ready
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
