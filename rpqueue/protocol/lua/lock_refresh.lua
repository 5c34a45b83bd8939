-- Let a lock that is held end later.
--
-- KEYS[1] lock   string  the holder's token
-- ARGV[1] token  text    of the holder
-- ARGV[2] ttl    int     ms from now until the lock ends by itself
-- Returns 1, or 0 when the lock has ended or is somebody else's; nothing is changed then.
-- O(1). Sending it twice does no harm.
local lock, token, ttl = KEYS[1], ARGV[1], ARGV[2]
if redis.call('GET', lock) ~= token then return 0 end
return redis.call('PEXPIRE', lock, ttl)
