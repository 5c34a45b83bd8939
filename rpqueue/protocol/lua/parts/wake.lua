-- Leave a token for one waiting worker or consumer, unless one lies there. Waiting takes the token, never a message, so
-- a token that is lost costs a moment (the next look), not a message.
local function wake(list, token)
  if redis.call('EXISTS', list) == 0 then
    redis.call('RPUSH', list, token)
    redis.call('PEXPIRE', list, 60000)
  end
end
