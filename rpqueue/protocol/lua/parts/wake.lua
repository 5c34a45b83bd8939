-- Tell the workers of a Cluster that a task queue has work. The channel is one for all queues of the app, and its news are heard
-- at every node; the text is the queue's name as it stands in its keys.
local function tell_workers(list)
  local stem, queue = string.match(list, '^(.*){tasks:(.*)}:wake$')
  if stem then redis.pcall('PUBLISH', stem .. '{app}:news', queue) end
end

-- Leave a token for one waiting worker or consumer, unless one lies there. Waiting takes the token, never a message, so
-- a token that is lost costs a moment (the next look), not a message. With `tell`, workers are told where it lies.
local function wake(list, token, tell)
  if redis.call('EXISTS', list) == 0 then
    redis.call('RPUSH', list, token)
    redis.call('PEXPIRE', list, 60000)
    if tell then tell_workers(list) end
  end
end

-- Wake a worker of all queues, by the app's list, and one of this queue. On Cluster no script of a queue can reach the app's
-- list, `app_wake` is nil, and all are told: also while a token lies there, for what is due later is promoted by those who are
-- too busy to take it.
local function wake_workers(q, name, app_wake)
  if app_wake then wake(app_wake, name) end
  wake(q.wake, name)
  if not app_wake then tell_workers(q.wake) end
end
