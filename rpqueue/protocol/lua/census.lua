-- Count what a queue holds and what stands where, at one instant, and what the index says of it. Writes nothing.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13..16] index  queues, ready_queues, due_queues, wake of the app; of a data queue data_queues; left out on Cluster
-- ARGV[1]     name    text    of the queue
-- Returns {now, messages, ready, scheduled, leased, parked, dead, lost, failed, counts, errors, first_due, first_expiry,
-- priority, ready_priority, due_at}: how many; the first instants in scheduled and leased; and the scores of the queue in the
-- index. Instants and scores are text, empty where there is none.
-- O(1).
-- Needs: now, queue
local q, name = queue_at(1), ARGV[1]

local function first_of(zset)
  return redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2] or ''
end

local function indexed(number)
  return KEYS[12 + number] and redis.call('ZSCORE', KEYS[12 + number], name) or ''
end

return {
  now_ms(), redis.call('HLEN', q.messages), redis.call('LLEN', q.ready), redis.call('ZCARD', q.scheduled),
  redis.call('ZCARD', q.leased), redis.call('HLEN', q.parked), redis.call('ZCARD', q.dead), redis.call('ZCARD', q.lost),
  redis.call('ZCARD', q.failed), redis.call('HLEN', q.counts), redis.call('HLEN', q.errors), first_of(q.scheduled),
  first_of(q.leased), indexed(1), indexed(2), indexed(3),
}
