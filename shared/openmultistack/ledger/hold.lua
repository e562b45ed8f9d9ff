-- A server with our marks is in the cloud and holds no slot: count it, and adopt its instance if
-- the ledger does not know that one (or knows only an older attempt, as after a loss).
-- KEYS  region, slots (hashes), record (hash), events (list), due (zset), then the indices that
--       list the instance (zsets)
-- ARGV  1 JSON {id, attempt, region, server_id, need: {vcpus, ram_mb}, expires_at_ms, fields}
-- Returns  1 if the instance was adopted, else 0: the server is superseded or was destroyed
-- Safe to repeat.
local ask = cjson.decode(ARGV[1])
local now = now_ms()
take(KEYS[1], KEYS[2], ask.id .. '/' .. ask.attempt, {
  vcpus = ask.need.vcpus, ram_mb = ask.need.ram_mb, since_ms = now, server_id = ask.server_id})
local it = redis.call('HMGET', KEYS[3], 'status', 'attempt')
local known, older = it[1], (tonumber(it[2]) or 0) < ask.attempt
if known and (known == 'DELETED' or known == 'DELETING' or not older) then return 0 end

redis.call('HDEL', KEYS[3], 'error', 'addresses', 'nonce')
redis.call('HSET', KEYS[3], 'id', ask.id, 'status', 'BUILD', 'attempt', ask.attempt,
  'region', ask.region, 'server_id', ask.server_id, 'expires_at_ms', ask.expires_at_ms)
for field, value in pairs(ask.fields) do redis.call('HSET', KEYS[3], field, value) end
tell(KEYS[4], {at_ms = now, what = 'adopted', region = ask.region, attempt = ask.attempt,
  why = 'server ' .. ask.server_id .. ' carries its marks'})
redis.call('ZADD', KEYS[5], ask.expires_at_ms, ask.id)
for index = 6, #KEYS do redis.call('ZADD', KEYS[index], 0, ask.id) end
return 1
