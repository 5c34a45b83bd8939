-- The acks of a round in one queue, its n-th (see said_of_queues): outcomes are kept, waiters told, ids that came too late
-- added to `stale` as {n, id}. Returns whether there were any.
local function ack_all(queue, n, stale)
  local q, done = queue.q, 0
  if #queue.plain > 0 then
    local late
    done, late = ack(q, queue.plain)
    for i, id in ipairs(late and queue.plain or {}) do
      if late[i] then stale[#stale + 1] = {n, id} end
    end
  end
  if #queue.ids > 0 then
    local more, late = ack(q, queue.ids, queue.tokens)
    done = done + more
    for i, id in ipairs(queue.ids) do
      local keep = queue.keeps[i]
      if late and late[i] then
        stale[#stale + 1] = {n, id}
      elseif keep then
        redis.call('SET', keep.key, keep.outcome, 'PX', keep.ttl)
        publish(q, id, 'done')
      end
    end
  end
  if done > 0 then publish(q, '', 'done ' .. done) end
  return #queue.plain + #queue.ids > 0
end
