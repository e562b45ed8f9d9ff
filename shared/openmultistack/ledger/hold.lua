-- A server with our marks is in the cloud, and the ledger has no slot for it, or another place for
-- its instance: count it, and adopt the instance where what the ledger has gives way to it.
-- KEYS  region, slots, usage (hashes: the last is the owner's), record (hash), events (list), due
--       (zset), idempotency key (hash), queue, gone (zsets: the latter the owner's), shares (string),
--       heads, the owner's line (zsets), region, slots (hashes) of where it was, keyed (zset: the
--       owner's keys, see _keyed), then the indices that list the instance (zsets)
-- ARGV  1 JSON {id, attempt, region, server_id, owner, building, failed: what it says in ERROR,
--         need: of each resource, expires_at_ms, fields, without: [fields that it does not have],
--         was_in: another region where the ledger has this very server,
--         key: {digest, body, index, keep_ms} if it was made under one}
-- Returns  1 if the instance was adopted, else 0
-- Safe to repeat.
local ask = cjson.decode(ARGV[1])
local now, name = now_ms(), ask.id .. '/' .. ask.attempt
shares, heads = KEYS[10], KEYS[11]
local slot = {owner = ask.owner, since_ms = now, server_id = ask.server_id,
  building = ask.building or nil}
local sum = add(nil, slot, take(KEYS[2], {name}, write_slot(slot, ask.need)))
if sum.instances > 0 then
  count_region(KEYS[1], sum)
  show(KEYS[1], KEYS[2], now)
end
owned(KEYS[3], sum)
local it = read_record(KEYS[4])
if it.status then remember_server(KEYS[4], ask.attempt, ask.region, ask.server_id) end
if ask.was_in and it.region == ask.was_in and it.server_id == ask.server_id
  and tonumber(it.attempt) == ask.attempt then
  -- One server is in one place: the cloud has another address now, or it was a slip of ours.
  drop(KEYS[13], KEYS[14], {name}, {KEYS[3]})
  redis.call('HSET', KEYS[4], 'region', ask.region)
  tell(KEYS[5], {at_ms = now, what = 'adopted', region = ask.region, attempt = ask.attempt,
    why = 'server ' .. ask.server_id .. ' is met here now'})
  return 1
end
if not gives_way(it, ask, now) then return 0 end

if sum.instances == 0 then
  local held = cjson.decode(redis.call('HGET', KEYS[2], name))
  held.server_id, held.lease_until_ms, held.since_ms = ask.server_id, nil, now
  redis.call('HSET', KEYS[2], name, cjson.encode(held))
end
if it.queue then leave(KEYS[8], KEYS[12], KEYS[3], it.queue) end
-- It may have been ACTIVE once, and hold what its owner wants.
local ended_up = it.status and ask.failed
-- What its owner said later than the marks counts on.
local due = was_due(it, ask.expires_at_ms) and tonumber(it.expires_at_ms) or ask.expires_at_ms
redis.call('HDEL', KEYS[4], 'error', 'addresses', 'cloud_status', 'nonce', 'ended',
  'stranded')
redis.call('HSET', KEYS[4], 'id', ask.id, 'status', ended_up and 'ERROR' or 'BUILD',
  'attempt', ask.attempt, 'region', ask.region, 'server_id', ask.server_id,
  'expires_at_ms', due, 'promised', 1)
remember_server(KEYS[4], ask.attempt, ask.region, ask.server_id)
if ended_up then redis.call('HSET', KEYS[4], 'error', ended_up) end
if #ask.without > 0 then redis.call('HDEL', KEYS[4], unpack(ask.without)) end
set_all(KEYS[4], ask.fields)
if ask.key and (redis.call('HGET', KEYS[7], 'body') or ask.key.body) == ask.key.body then
  redis.call('HSET', KEYS[7], 'body', ask.key.body)
  redis.call('HSETNX', KEYS[7], ask.key.index, ask.id)
  redis.call('PEXPIRE', KEYS[7], ask.key.keep_ms)
  redis.call('ZADD', KEYS[15], now + ask.key.keep_ms, counted_by(ask.key.digest, ask.key.index))
  redis.call('PEXPIRE', KEYS[15], ask.key.keep_ms)
end
tell(KEYS[5], {at_ms = now, what = 'adopted', region = ask.region, attempt = ask.attempt,
  why = 'server ' .. ask.server_id .. ' carries its marks' .. instead_of(it)})
redis.call('ZADD', KEYS[6], due, ask.id)
redis.call('ZREM', KEYS[9], ask.id)
for index = 16, #KEYS do redis.call('ZADD', KEYS[index], 0, ask.id) end
return 1
