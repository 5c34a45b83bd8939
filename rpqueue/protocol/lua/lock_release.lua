-- Give a lock back.
--
-- KEYS[1] lock   string  the holder's token
-- ARGV[1] token  text    of the holder
-- Returns 1, or 0 when the lock has ended or is somebody else's; nothing is changed then.
-- O(1). Sent twice, it takes nothing from the next holder; the answer is then 0 though the first call released it.
local lock, token = KEYS[1], ARGV[1]
if redis.call('GET', lock) ~= token then return 0 end
return redis.call('DEL', lock)
