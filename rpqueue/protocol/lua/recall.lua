-- What a round leased whose reply nobody has read: asked by the worker's supervisor.
--
-- KEYS[1]  memo    string  of the worker's session
-- ARGV[1]  number  int     of the round
-- ARGV[2]  died    0|1     1: the worker is dead; a round of its that is still on its way leases nothing when it comes
-- Returns {queue name, queue number, ids, again} for each queue that it leased from: see pop(); empty when the round never
-- reached Redis, or leased nothing.
-- O(leases).
-- Needs: memo
local answer = recall(KEYS[1], ARGV[1])
if not answer then
  answer = {{}, {}}
  if ARGV[2] == '1' then remember(KEYS[1], ARGV[1], answer) end
end
return answer[2]
