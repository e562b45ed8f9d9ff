-- The cloud accepted an attempt: its slot is proven, its lease ends, and the region works.
-- KEYS  record (hash), events (list), region, slots (hashes) of the attempt, shares (string)
-- ARGV  1 id, 2 attempt, 3 region, 4 server id
-- Returns  `BUILD`; `UNKNOWN`: the ledger was lost meanwhile, or is an old copy, or the attempt was
--       taken for one that made nothing, and a sweep will adopt the server; or `UNWANTED`: its
--       instance ended, or lives elsewhere: the server is to be deleted
-- Safe to repeat.
local now, slot = now_ms(), ARGV[1] .. '/' .. ARGV[2]
shares = KEYS[5]
if close_breaker(KEYS[3]) then show(KEYS[3], KEYS[4], now) end
local it = read_record(KEYS[1])
if not it.status then return 'UNKNOWN' end
local attempt = tonumber(ARGV[2])
local unwanted = gives_way(it, {attempt = attempt, expires_at_ms = 0}, now) and 'UNKNOWN' or 'UNWANTED'
local value = redis.call('HGET', KEYS[4], slot)
if not value then return unwanted end
local held = cjson.decode(value)
held.server_id, held.lease_until_ms = ARGV[4], nil
held.since_ms = now
redis.call('HSET', KEYS[4], slot, cjson.encode(held))
remember_server(KEYS[1], attempt, ARGV[3], ARGV[4])

if it.attempt ~= ARGV[2] or it.region ~= ARGV[3] then return unwanted end
redis.call('HSET', KEYS[1], 'server_id', ARGV[4])
if it.server_id ~= ARGV[4] then
  tell(KEYS[2], {at_ms = now, what = 'accepted', region = ARGV[3], attempt = attempt,
    why = 'server ' .. ARGV[4]})
end
return (it.status == 'BUILD' or it.status == 'ACTIVE') and 'BUILD' or 'UNWANTED'
