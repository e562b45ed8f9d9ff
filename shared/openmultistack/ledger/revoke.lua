-- Take tokens back until they end.
-- KEYS  revoked tokens (zset: id by its end, ms), their version (string)
-- ARGV  1 a new version, 2 how many are kept, 3 end in ms since 1970, 4 id, 5 end, 6 id ...
-- Returns  1, or 0 if there is no room for them and nothing was done
-- Safe to repeat: yes.
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) + (#ARGV - 2) / 2 > tonumber(ARGV[2]) then return 0 end
for n = 3, #ARGV, 2 do redis.call('ZADD', KEYS[1], ARGV[n], ARGV[n + 1]) end
redis.call('SET', KEYS[2], ARGV[1])
return 1
