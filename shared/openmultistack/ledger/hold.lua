-- A server with our marks is in the cloud and holds no slot: count it, and adopt its instance if
-- the ledger does not know that one (or knows only an older attempt, as after a loss).
-- KEYS  region, slots, usage (hashes: the last is the owner's), record (hash), events (list), due
--       (zset), idempotency key (hash), queue (zset), then the indices that list the instance (zsets)
-- ARGV  1 JSON {id, attempt, region, server_id, owner, building, need: {vcpus, ram_mb},
--         expires_at_ms, fields, key: {body, index, keep_ms} if it was made under one}
-- Returns  1 if the instance was adopted, else 0: the server is superseded or was destroyed
-- Safe to repeat.
local ask = cjson.decode(ARGV[1])
local now = now_ms()
local slot = {owner = ask.owner, vcpus = ask.need.vcpus, ram_mb = ask.need.ram_mb, since_ms = now,
  server_id = ask.server_id, building = ask.building or nil}
local sum = add(nil, slot, take(KEYS[2], {ask.id .. '/' .. ask.attempt}, cjson.encode(slot)))
if sum.instances > 0 then count_region(KEYS[1], sum) end
owned(KEYS[3], sum)
local it = redis.call('HMGET', KEYS[4], 'status', 'attempt', 'queue')
local known, older = it[1], (tonumber(it[2]) or 0) < ask.attempt
if known and (known == 'DELETED' or known == 'DELETING' or not older) then return 0 end

if it[3] then redis.call('ZREM', KEYS[8], it[3]) end
redis.call('HDEL', KEYS[4], 'error', 'addresses', 'cloud_status', 'nonce')
redis.call('HSET', KEYS[4], 'id', ask.id, 'status', 'BUILD', 'attempt', ask.attempt,
  'region', ask.region, 'server_id', ask.server_id, 'expires_at_ms', ask.expires_at_ms, 'promised', 1)
set_all(KEYS[4], ask.fields)
if ask.key then
  redis.call('HSET', KEYS[7], 'body', ask.key.body, ask.key.index, ask.id)
  redis.call('PEXPIRE', KEYS[7], ask.key.keep_ms)
end
tell(KEYS[5], {at_ms = now, what = 'adopted', region = ask.region, attempt = ask.attempt,
  why = 'server ' .. ask.server_id .. ' carries its marks'})
redis.call('ZADD', KEYS[6], ask.expires_at_ms, ask.id)
for index = 9, #KEYS do redis.call('ZADD', KEYS[index], 0, ask.id) end
return 1
