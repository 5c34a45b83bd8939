-- All acks of a round in one queue.

-- Bytes up to which an outcome is itself the news that it is there.
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
  local function keep(id, key, outcome, ttl)
    redis.call('SET', key, outcome, 'PX', ttl)
    publish(q, id, #outcome <= SHORT and outcome or 'done')
  end
  local plain, kept = queue.plain, queue.kept
  local late = ack_some(plain)
  for i = 1, kept do
    local id = plain[#plain - kept + i]
    if not (late and late[id]) then
      keep(id, KEYS[queue.first_key + i - 1], ARGV[queue.first_outcome + i - 1], queue.ttl)
    end
  end
  late = ack_some(queue.ids, queue.tokens)
  for i, id in ipairs(queue.ids) do
    local one = queue.keeps[i]
    if one and not (late and late[id]) then keep(id, one.key, one.outcome, one.ttl) end
  end
  if done > 0 then publish(q, '', 'done ' .. done) end
  return #queue.plain + #queue.ids > 0
end
