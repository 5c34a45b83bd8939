-- What a round leased whose reply nobody read, because the worker died: asked by its supervisor.
--
-- KEYS[1]  memo    string  of the dead worker's session
-- ARGV[1]  number  int     of the round
-- Returns {queue name, queue number, ids, again} for each queue that it leased from: see pop(); empty when the round never
-- reached Redis, or leased nothing. A round that is still on its way leases nothing when it comes: it is answered as done.
-- O(leases).
-- Needs: memo
local answer = recall(KEYS[1], ARGV[1])
if not answer then
  answer = {{}, {}}
  remember(KEYS[1], ARGV[1], answer)
end
return answer[2]
