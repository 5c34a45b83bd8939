-- A call that is sent twice, because its reply was lost, is answered twice and done once: see Stamp in operation.py.
-- The memo is `number|answer`; nearly always it is of another call, and that is told without reading the answer.
-- The answer to call `number` if it was done already, else nil.
local function recall(memo, number)
  local mark = number .. '|'
  -- pcall: what somebody else put there is no memo, and is overwritten.
  if redis.pcall('GETRANGE', memo, 0, #mark - 1) ~= mark then return nil end
  return cmsgpack.unpack(string.sub(redis.call('GET', memo), #mark + 1))
end

-- pcall: at maxmemory an ack must still count, even if its answer cannot be kept.
local function remember(memo, number, answer)
  redis.pcall('SET', memo, number .. '|' .. cmsgpack.pack(answer), 'PX', 60000)
end
