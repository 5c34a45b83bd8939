-- Keep a message that was given up in a grave (dead, lost or failed), with the reason. Of `failed` only the newest `keep`
-- stay; `keep` 0 drops the message instead of keeping it there.
local function bury(q, id, grave, reason, now, keep, flags)
  if grave == 'failed' and keep == 0 then
    redis.call('HDEL', q.messages, id)
    redis.call('HDEL', q.counts, id)
    redis.call('HDEL', q.errors, id)
  else
    local last = redis.call('HGET', q.errors, id)
    local error_json = last and string.match(last, '|(.*)$') or ''
    redis.call('ZADD', q[grave], now, id)
    redis.call('HSET', q.errors, id, string.format('%s %.0f|', reason, now) .. error_json)
    if grave == 'failed' then
      local excess = redis.call('ZCARD', q.failed) - keep
      if excess > 0 then
        local oldest = redis.call('ZRANGE', q.failed, 0, math.min(excess, 100) - 1)
        redis.call('ZREM', q.failed, unpack(oldest))
        redis.call('HDEL', q.messages, unpack(oldest))
        redis.call('HDEL', q.counts, unpack(oldest))
        redis.call('HDEL', q.errors, unpack(oldest))
      end
    end
  end
  redis.pcall('HINCRBY', q.stats, grave, 1)
  if has(flags, WATCHED) then publish(q, id, grave) end
  publish(q, '', grave)
end

-- Keep an id whose message is gone, so that the loss can be seen; an empty message stands for it.
local function bury_missing(q, id, now)
  redis.call('HSET', q.messages, id, '')
  bury(q, id, 'dead', 'missing', now, 0, 0)
end
