-- A region has room: give it to those who wait, in the order given, as far as it goes.
-- KEYS  region, slots (hashes), queue, due (zsets), shares (string), heads (zset), then for each that
--       waits: record (hash), events (list), usage (hash) and line (zset) of its owner
-- ARGV  1 JSON {region, lease_ms, waiting: [{id, owner, need: of each resource, fields, quota}]}
-- Returns  JSON {placed: [{id, attempt, expires_at_ms}], more}: the caller creates their servers;
--       more: something small would still fit
-- Not safe to repeat: who was placed by a lost answer is tried again when its lease is over.
local ask = cjson.decode(ARGV[1])
local now, placed = now_ms(), {}
shares, heads = KEYS[5], KEYS[6]
for i, it in ipairs(ask.waiting) do
  local record, events, usage = KEYS[4 * i + 3], KEYS[4 * i + 4], KEYS[4 * i + 5]
  local was = redis.call('HMGET', record, 'status', 'attempt', 'queue', 'ttl_ms')
  local readable = is_count(was[2]) and is_count(was[4]) and was[3]
  if was[1] == 'QUEUED' and readable and room(KEYS[1], KEYS[2], it.need, now) > 0
    and afford(spare(usage, it.quota), it.need) then
    local attempt, expires = was[2] + 1, now + was[4]
    owned(usage, start(KEYS[1], KEYS[2], {it.id .. '/' .. attempt},
      new_slot(it.owner, it.need, now, now + ask.lease_ms)))
    redis.call('HSET', record, 'status', 'BUILD', 'attempt', attempt, 'region', ask.region,
      'expires_at_ms', expires)
    -- What a late answer to an older attempt left is not of this one.
    redis.call('HDEL', record, 'server_id', 'addresses', 'cloud_status')
    set_all(record, it.fields)
    leave(KEYS[3], KEYS[4 * i + 6], usage, was[3])
    redis.call('ZADD', KEYS[4], expires, it.id)
    tell(events, {at_ms = now, what = 'placed', region = ask.region, attempt = attempt,
      why = 'a slot came free'})
    placed[#placed + 1] = {id = it.id, attempt = attempt, expires_at_ms = expires}
  end
end
local left = room(KEYS[1], KEYS[2], {LEAST}, now)
return cjson.encode({placed = placed, more = left > 0})
