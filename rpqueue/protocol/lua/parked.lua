-- Which messages are parked in some queues. Writes nothing.
--
-- KEYS[1..n]  parked  hash  of each queue
-- ARGV[1]     limit   int   most messages to tell of each queue
-- Returns {number of the queue, id, task name, ...} for each queue that has any.
-- O(queues + parked).
local limit, answers = tonumber(ARGV[1]), {}
for n, parked in ipairs(KEYS) do
  if redis.call('EXISTS', parked) == 1 then
    local answer = {n}
    local cursor = '0'
    repeat
      local page = redis.call('HSCAN', parked, cursor, 'COUNT', 100)
      cursor = page[1]
      for _, word in ipairs(page[2]) do answer[#answer + 1] = word end
    until cursor == '0' or #answer > 2 * limit
    answers[#answers + 1] = answer
  end
end
return answers
