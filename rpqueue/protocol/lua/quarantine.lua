-- Bury messages that their reader could not decode, byte for byte: leased ones, or ones that it had taken for good.
--
-- KEYS[1..12] queue     see QueueKeys.block
-- KEYS[13]    memo      string  this session's last call
-- KEYS[14..17] index    queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     number    int     of this call in its session
-- ARGV[2]     name      text    of the queue
-- ARGV[3..n]  messages  id, token, message, error, ...: with a token, the message is leased under it; with an empty one,
--                       it was taken for good and comes back. The error is a JSON object that says what is wrong
-- Returns the ids that are buried now, in order; those whose lease was not held any more are left out.
-- O(messages * log(leased)).
-- Needs: now, queue, check, memo, header, tally, counts, held, publish, head, index, bury
local q, memo = queue_at(1), KEYS[13]
local number, name = ARGV[1], ARGV[2]
local buried = recall(memo, number)
if buried then return buried end
check(q, true)
local now = now_ms()
buried = {}
for i = 3, #ARGV, 4 do
  local id, token, message, error_json = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local mine
  if token == '' then
    mine = redis.call('HSETNX', q.messages, id, message) == 1
  else
    mine = held(q, {id}, {token})[1]
    if mine then
      redis.call('ZREM', q.leased, id)
      local counts = counts_of(q, id)
      counts.fence, counts.failures = counts.fence + 1, counts.failures + 1
      write_counts(q, id, counts)
    end
  end
  if mine then
    redis.call('HSET', q.errors, id, '|' .. error_json)
    bury(q, id, 'dead', 'undecodable', now, 0, 0)
    buried[#buried + 1] = id
  end
end
if #buried > 0 then
  reindex(q, name, 14)
  remember(memo, number, buried)
end
return buried
