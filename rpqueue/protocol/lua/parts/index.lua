-- The instant, in ms, at which the queue next needs a hand: a message is due or a lease ends. nil: never.
local function next_due(q)
  local scheduled = redis.call('ZRANGE', q.scheduled, 0, 0, 'WITHSCORES')[2]
  local leased = redis.call('ZRANGE', q.leased, 0, 0, 'WITHSCORES')[2]
  scheduled, leased = scheduled and tonumber(scheduled), leased and tonumber(leased)
  if scheduled and leased then return math.min(scheduled, leased) end
  return scheduled or leased
end

-- Keep the app's index of queues true for one queue, so that a worker finds work among thousands of queues at once.
-- The four keys queues, ready_queues, due_queues and wake begin at KEYS[first]; on Cluster they are not given.
-- Returns the queue's next due instant and whether it has ready messages.
local function reindex(q, name, first)
  local due, ready = next_due(q), redis.call('EXISTS', q.ready) == 1
  if KEYS[first] then
    if ready then
      local priority = redis.call('ZSCORE', KEYS[first], name)
      if not priority then
        priority = 'inf'
        redis.call('ZADD', KEYS[first], priority, name)
      end
      redis.call('ZADD', KEYS[first + 1], priority, name)
    else
      redis.call('ZREM', KEYS[first + 1], name)
    end
    if due then
      redis.call('ZADD', KEYS[first + 2], due, name)
    else
      redis.call('ZREM', KEYS[first + 2], name)
    end
  end
  return due, ready
end
