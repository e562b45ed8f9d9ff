-- A region cannot serve orders of one kind, until what it offers is read again.
-- KEYS  unsuited (hash: region to version), refused (hash: kind of order to what the region said),
--       version (string)
-- ARGV  1 region, 2 kind, 3 what it said, 4 kinds that are remembered at most, 5 ms until they are
--       forgotten in any case
-- Returns  1, or 0 if it was known
-- Safe to repeat.
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 0 end
-- Too many to remember: what is asked for still is learned again.
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4]) then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
version = KEYS[3]
changed(ARGV[1] .. ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], redis.call('GET', KEYS[3]))
return 1
