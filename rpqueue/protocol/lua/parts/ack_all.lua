-- All acks of a round in one queue.

-- Bytes up to which an outcome is published with the news that it is there.
local SHORT = 4096

-- The acks of a round in one queue, its n-th (see said_of_queues): outcomes are kept, waiters told, ids that came too late
-- added to `stale` as {n, id}. Returns whether there were any.
local function ack_all(queue, n, stale)
  local q, done = queue.q, 0
  local function ack_some(ids, tokens)
    if #ids == 0 then return nil end
    local count, late = ack(q, ids, tokens)
    done = done + count
    for _, id in ipairs(late and ids or {}) do
      if late[id] then stale[#stale + 1] = {n, id} end
    end
    return late
  end
  ack_some(queue.plain)
  local late = ack_some(queue.ids, queue.tokens)
  for i, id in ipairs(queue.ids) do
    local keep = queue.keeps[i]
    if keep and not (late and late[id]) then
      redis.call('SET', keep.key, keep.outcome, 'PX', keep.ttl)
      publish(q, id, #keep.outcome <= SHORT and 'done ' .. keep.outcome or 'done')
    end
  end
  if done > 0 then publish(q, '', 'done ' .. done) end
  return #queue.plain + #queue.ids > 0
end
