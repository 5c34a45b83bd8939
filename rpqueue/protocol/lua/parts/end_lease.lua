-- Leased -> ready again, or buried: a lease ended without an ack. The caller has raised one of the counters, and taken the
-- id out of `leased`. `rules`: kind ('tasks' or 'data'), poison (crashes that bury; 0: never), keep (of `failed`).
-- `delay` (ms) schedules the next delivery; `front` puts it before all others. `verdict` is what the worker decided: 'retry'
-- delivers it again whatever its attempts say, 'stop' does not; without one its attempts decide. Returns where it went.
local function end_lease(q, id, counts, rules, now, reason, delay, front, verdict)
  counts.fence = counts.fence + 1
  local message = redis.call('HGET', q.messages, id)
  if not message then
    bury_missing(q, id, now)
    return 'dead'
  end
  write_counts(q, id, counts)
  local available_at, lease, attempts, flags = header_of(message)
  if not available_at and reason ~= 'unstarted' then -- else whoever starts it says what is wrong
    bury(q, id, 'dead', 'undecodable', now, 0, 0)
    return 'dead'
  end
  local grave
  -- Of a message that runs until it is over, crashes are not held against its attempts; `poison` bounds them.
  local tries = counts.failures + (has(flags or 0, RECOVER) and 0 or counts.crashes)
  if reason == 'unstarted' or verdict == 'retry' then
    grave = nil
  elseif verdict == 'stop' then
    grave = has(flags, USE_DEAD) and 'dead' or 'failed'
  elseif rules.kind == 'tasks' and lease == 0 then
    -- At most once: it began to run, so it never runs again by itself.
    grave = reason ~= 'failed' and 'lost' or has(flags, USE_DEAD) and 'dead' or 'failed'
  elseif rules.poison > 0 and counts.crashes >= rules.poison then
    grave, reason = 'dead', 'poison'
  elseif tries >= attempts then
    grave = has(flags, USE_DEAD) and 'dead' or 'failed'
  end
  if grave then
    bury(q, id, grave, reason, now, rules.keep, flags)
    return grave
  end
  if delay and delay > 0 then
    redis.call('ZADD', q.scheduled, now + delay, id)
    return 'scheduled'
  end
  redis.call(front and 'LPUSH' or 'RPUSH', q.ready, id)
  return 'ready'
end
