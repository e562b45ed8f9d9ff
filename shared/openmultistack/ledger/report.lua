-- A region refused or failed: what it said, and what that means for the next placement.
-- KEYS  regions (set of names), region (hash)
-- ARGV  1 region, 2 error, 3 `down` (until a sweep proves it well), `full` (until the next sweep)
--       or `stale` (its catalogue is read again by the next sweep)
-- Returns  1
-- Safe to repeat.
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], 'last_error', ARGV[2], 'last_error_at_ms', now_ms())
if ARGV[3] == 'down' then redis.call('HSET', KEYS[2], 'state', 'down') end
if ARGV[3] == 'full' then redis.call('HSET', KEYS[2], 'full', '1') end
if ARGV[3] == 'stale' then redis.call('HDEL', KEYS[2], 'catalogue_at_ms') end
return 1
