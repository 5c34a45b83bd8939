-- Take a lock that nobody holds.
--
-- KEYS[1] lock   string  the holder's token
-- ARGV[1] token  text    of who wants it; made for this one attempt
-- ARGV[2] ttl    int     ms until the lock ends by itself
-- Returns 0 when the token holds the lock, else the ms until the present holder's ends by itself, at least 1.
-- O(1). Sent twice, it answers 0 again.
local lock, token, ttl = KEYS[1], ARGV[1], ARGV[2]
if redis.call('SET', lock, token, 'NX', 'PX', ttl) or redis.call('GET', lock) == token then return 0 end
return math.max(redis.call('PTTL', lock), 1)
