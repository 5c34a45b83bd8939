-- Push the expiry of held leases out.
--
-- KEYS[1..12] queue      see QueueKeys.block
-- ARGV[1]     lease_for  int     ms from now
-- ARGV[2..n]  leases     id, token, deadline, ...: an empty token extends whoever's lease; the deadline (ms since the
--                        epoch; 0: none) is never passed, nor does it end a lease earlier than it ends now: who holds it
--                        may have moved the deadline on since somebody else read it; below 0: only of a message that is
--                        delivered once at most
-- Returns the ids that were held and are extended, in order.
-- O(leases * log(leased)). Sending it twice does no harm. Begins with a freeing write: works at maxmemory.
-- Needs: now, queue, header, tally, held
local q = queue_at(1)
local lease_for = tonumber(ARGV[1])
local now = now_ms()
local ids, tokens, deadlines = {}, {}, {}
for i = 2, #ARGV, 3 do
  ids[#ids + 1], tokens[#tokens + 1], deadlines[#deadlines + 1] = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
end
local answers, extended = held(q, ids, tokens), {}

local function may_run_again(id)
  local _, lease = header_of(redis.call('HGET', q.messages, id) or '')
  return lease ~= 0
end

for i, id in ipairs(ids) do
  if answers[i] and not (deadlines[i] < 0 and may_run_again(id)) then
    local expires = now + lease_for
    if deadlines[i] > 0 and deadlines[i] < expires then
      expires = math.max(deadlines[i], tonumber(redis.call('ZSCORE', q.leased, id)))
    end
    redis.call('ZREM', q.leased, id)
    redis.call('ZADD', q.leased, expires, id)
    extended[#extended + 1] = id
  end
end
return extended
