-- How many messages are where, for several queues. Writes nothing.
--
-- KEYS[..]  queue  one block of twelve (QueueKeys.block) for every queue; on Cluster, of one queue
-- Returns {now, {ready, scheduled, leased, parked, dead, lost, failed, seen, done, retired, head}, ...}, one for each queue in
-- order: head is since when the first ready message is available (ms; 0: none is ready, or its header cannot be read).
-- O(queues).
-- Needs: now, queue, header
local answers = {now_ms()}
for first = 1, #KEYS, 12 do
  local q = queue_at(first)
  local head = 0
  local id = redis.call('LINDEX', q.ready, 0)
  if id then head = tonumber(header_of(redis.call('HGET', q.messages, id) or '') or 0) end
  local seen = redis.call('HMGET', q.stats, 'seen', 'done', 'retired')
  answers[#answers + 1] = {
    redis.call('LLEN', q.ready), redis.call('ZCARD', q.scheduled), redis.call('ZCARD', q.leased),
    redis.call('HLEN', q.parked), redis.call('ZCARD', q.dead), redis.call('ZCARD', q.lost),
    redis.call('ZCARD', q.failed), tonumber(seen[1] or 0), tonumber(seen[2] or 0),
    tonumber(seen[3] or 0), head,
  }
end
return answers
