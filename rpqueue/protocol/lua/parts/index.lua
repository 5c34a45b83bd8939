-- The app's index of queues is kept true for one queue at a time, so that a worker finds work among thousands of queues at
-- once. The four keys queues, ready_queues, due_queues and wake begin at KEYS[first]; on Cluster they are not given.
-- pcall: where somebody else wrote to these keys, what was done to the queue is done all the same. Workers say what is wrong.
local function index_ready(name, first, ready)
  if not KEYS[first] then return end
  if ready then
    local priority = redis.pcall('ZSCORE', KEYS[first], name)
    if type(priority) ~= 'string' then
      priority = 'inf'
      redis.pcall('ZADD', KEYS[first], priority, name)
    end
    redis.pcall('ZADD', KEYS[first + 1], priority, name)
  else
    redis.pcall('ZREM', KEYS[first + 1], name)
  end
end

-- `due`: the next instant (ms) at which the queue needs a hand; false: never.
local function index_due(name, first, due)
  if not KEYS[first] then return end
  if due then
    redis.pcall('ZADD', KEYS[first + 2], due, name)
  else
    redis.pcall('ZREM', KEYS[first + 2], name)
  end
end

-- Both. A caller that knows when the queue next needs a hand says so; false: never. Returns that instant, or false, and
-- whether there are ready messages.
local function reindex(q, name, first, due)
  if due == nil then due = next_due(q) or false end
  local ready = redis.call('EXISTS', q.ready) == 1
  index_ready(name, first, ready)
  index_due(name, first, due)
  return due, ready
end
