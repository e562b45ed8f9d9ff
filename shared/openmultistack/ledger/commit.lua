-- The cloud accepted an attempt: its slot is proven, its lease ends, and the region works.
-- KEYS  record (hash), events (list), region, slots (hashes) of the attempt, shares (string)
-- ARGV  1 id, 2 attempt, 3 region, 4 server id
-- Returns  `BUILD`; `UNKNOWN`: the ledger was lost meanwhile, and a sweep will adopt the server; or
--       `UNWANTED`: destroyed or superseded, or its lease ran out: the server is to be deleted
-- Safe to repeat.
local now, slot = now_ms(), ARGV[1] .. '/' .. ARGV[2]
shares = KEYS[5]
if close_breaker(KEYS[3]) then show(KEYS[3], KEYS[4], now) end
local it = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'server_id')
if not it[1] then return 'UNKNOWN' end
local value = redis.call('HGET', KEYS[4], slot)
if not value then return 'UNWANTED' end
local held = cjson.decode(value)
held.server_id, held.lease_until_ms = ARGV[4], nil
held.since_ms = now
redis.call('HSET', KEYS[4], slot, cjson.encode(held))

if it[2] ~= ARGV[2] then return 'UNWANTED' end
redis.call('HSET', KEYS[1], 'server_id', ARGV[4])
if it[3] ~= ARGV[4] then
  tell(KEYS[2], {at_ms = now, what = 'accepted', region = ARGV[3], attempt = tonumber(ARGV[2]),
    why = 'server ' .. ARGV[4]})
end
if it[1] == 'BUILD' or it[1] == 'ACTIVE' then return 'BUILD' end
return 'UNWANTED'
