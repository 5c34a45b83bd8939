-- A call that is sent twice, because its reply was lost, is answered twice and done once: see Stamp in operation.py.
-- The answer to call `number` if it was done already, else nil.
local function recall(memo, number)
  local kept = redis.call('GET', memo)
  if kept then
    kept = cmsgpack.unpack(kept)
    if kept[1] == number then return kept[2] end
  end
  return nil
end

-- pcall: at maxmemory an ack must still count, even if its answer cannot be kept.
local function remember(memo, number, answer)
  redis.pcall('SET', memo, cmsgpack.pack({number, answer}), 'PX', 60000)
end
