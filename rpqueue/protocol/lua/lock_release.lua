-- Give a lock back.
--
-- KEYS[1] lock    string  the holder's token
-- KEYS[2] memo    string  this session's last call
-- ARGV[1] number  int     of this call in its session
-- ARGV[2] token   text    of the holder
-- Returns 1, or 0 when the lock has ended or is somebody else's; nothing is changed then.
-- O(1). Sent twice, it takes nothing from the next holder.
-- Needs: memo
local lock, memo, number, token = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local done = recall(memo, number)
if done then return done end
if redis.call('GET', lock) ~= token then return 0 end
redis.call('DEL', lock)
remember(memo, number, 1)
return 1
