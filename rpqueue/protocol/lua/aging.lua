-- Which of several queues have given up messages that are to go. Writes nothing.
--
-- KEYS[..]    graves  zset  dead, lost and failed of each queue in turn; on Cluster, of one queue
-- ARGV[1..6]  bounds  int   ttl (ms; 0: for ever) and keep (-1: however many) of dead, then of lost, then of failed
-- Returns the numbers of those queues.
-- O(queues * log(buried)).
-- Needs: now, overdue
local now, found = now_ms(), {}
for first = 1, #KEYS, 3 do
  for i = 0, 2 do
    if overdue(KEYS[first + i], now, tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])) > 0 then
      found[#found + 1] = (first + 2) / 3
      break
    end
  end
end
return found
