-- A key of a wrong type, which somebody else wrote, costs its queue its turn, and no other queue.

-- Milliseconds after which a queue is looked at again.
local SET_ASIDE = 5000
-- Number of a queue, or 0 for the index, -> what Redis says of it.
local spoilt = {}

local function settle(n, good, ...)
  if good then return ... end
  local why = ...
  local text = type(why) == 'table' and why.err or why
  if type(text) ~= 'string' or not string.find(text, 'WRONGTYPE', 1, true) then error(why, 0) end
  spoilt[n] = text
end

-- What a step about the n-th queue returns; nothing when it is spoilt.
local function try(n, step, ...)
  return settle(n, pcall(step, ...))
end
