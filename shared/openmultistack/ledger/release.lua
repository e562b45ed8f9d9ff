-- The cloud is known to have no server for an attempt: free its slot. If that was the instance's
-- current attempt, the instance is over too (one in ERROR stays, to be seen).
-- KEYS  region, slots, usage (hashes: the last is the owner's), record (hash), events (list), due
--       (zset), gone (zset: the owner's ended instances), then the indices that list it while it
--       lives (zsets)
-- ARGV  1 id, 2 attempt, 3 region, 4 why, 5 ms to remember an ended instance, 6 `end`: an
--       instance in ERROR is over as well
-- Returns  1 if a slot was freed, else 0
-- Safe to repeat.
local now, id = now_ms(), ARGV[1]
local freed = drop(KEYS[1], KEYS[2], KEYS[3], id .. '/' .. ARGV[2])
local it = redis.call('HMGET', KEYS[4], 'status', 'attempt')
if it[2] ~= ARGV[2] or it[1] == 'DELETED' or it[1] == 'QUEUED' then return freed end
redis.call('HDEL', KEYS[4], 'server_id')
if it[1] == 'ERROR' and ARGV[6] ~= 'end' then return freed end

redis.call('HSET', KEYS[4], 'status', 'DELETED', 'addresses', '[]')
redis.call('HDEL', KEYS[4], 'order')
tell(KEYS[5], {at_ms = now, what = 'deleted', region = ARGV[3], attempt = tonumber(ARGV[2]), why = ARGV[4]})
redis.call('ZADD', KEYS[6], now + ARGV[5], id)
redis.call('ZADD', KEYS[7], 0, id)
for index = 8, #KEYS do redis.call('ZREM', KEYS[index], id) end
return freed
