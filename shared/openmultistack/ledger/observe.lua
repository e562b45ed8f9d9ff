-- What the cloud shows of an attempt's server goes into the ledger; an unproven attempt is
-- thereby adopted.
-- KEYS  record (hash), events (list), region, slots (hashes) of the attempt
-- ARGV  1 id, 2 attempt, 3 region, 4 server id, 5 status (BUILD, ACTIVE), 6 addresses (JSON)
-- Returns  1 if the slot exists, else 0
-- Safe to repeat.
local now, slot = now_ms(), ARGV[1] .. '/' .. ARGV[2]
local value = redis.call('HGET', KEYS[4], slot)
if not value then return 0 end
local it = redis.call('HMGET', KEYS[1], 'status', 'attempt')
local current = it[2] == ARGV[2]
local function say(what, why)
  tell(KEYS[2], {at_ms = now, what = what, region = ARGV[3], attempt = tonumber(ARGV[2]), why = why})
end

local held = cjson.decode(value)
if held.server_id ~= ARGV[4] then
  held.server_id, held.lease_until_ms, held.since_ms = ARGV[4], nil, now
  say('adopted', 'server ' .. ARGV[4] .. ' was found in the cloud')
end
if held.building and ARGV[5] == 'ACTIVE' then
  redis.call('HINCRBY', KEYS[3], 'building', -1)
  held.building = nil
end
redis.call('HSET', KEYS[4], slot, cjson.encode(held))
if current then redis.call('HSET', KEYS[1], 'server_id', ARGV[4]) end
if current and (it[1] == 'BUILD' or it[1] == 'ACTIVE') then
  redis.call('HSET', KEYS[1], 'addresses', ARGV[6])
  if ARGV[5] == 'ACTIVE' and it[1] == 'BUILD' then
    redis.call('HSET', KEYS[1], 'status', 'ACTIVE')
    redis.call('HDEL', KEYS[1], 'order', 'nonce')
    say('active', 'the cloud shows it ACTIVE')
  end
end
return 1
