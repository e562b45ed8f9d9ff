-- The cloud accepted an attempt: its slot is proven, its lease ends.
-- KEYS  record (hash), events (list), slots (hash) of the attempt's region
-- ARGV  1 id, 2 attempt, 3 region, 4 server id
-- Returns  `BUILD`; or `UNWANTED`: destroyed or superseded meanwhile, or its lease ran out, and
--       the server is to be deleted
-- Safe to repeat.
local now, slot = now_ms(), ARGV[1] .. '/' .. ARGV[2]
local value = redis.call('HGET', KEYS[3], slot)
if not value then return 'UNWANTED' end
local held = cjson.decode(value)
held.server_id, held.lease_until_ms = ARGV[4], nil
held.since_ms = now
redis.call('HSET', KEYS[3], slot, cjson.encode(held))

local it = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'server_id')
if it[2] ~= ARGV[2] then return 'UNWANTED' end
redis.call('HSET', KEYS[1], 'server_id', ARGV[4])
if it[3] ~= ARGV[4] then
  tell(KEYS[2], {at_ms = now, what = 'accepted', region = ARGV[3], attempt = tonumber(ARGV[2]),
    why = 'server ' .. ARGV[4]})
end
if it[1] == 'BUILD' or it[1] == 'ACTIVE' then return 'BUILD' end
return 'UNWANTED'
