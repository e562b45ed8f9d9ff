-- An attempt failed: leave its region, and reserve a slot elsewhere as the next attempt.
-- KEYS  record (hash), events (list), usage (hash: the owner's), queue (zset), region and slots of
--       the failed attempt (hashes), shares (string), heads, the owner's line (zsets), orders
--       (hash), then region and slots of each candidate in rank order (hashes)
-- ARGV  1 JSON {id, attempt, from, from_name, owner, keep, blame, promised, wait, why, pick, lease_ms, nonce,
--         regions: [name of each candidate], kind_of: [its place in kinds],
--         kinds: [{need: of each resource, fields}], of: how many candidates there are in all}
--       keep: leaves the old slot held, as a server of that attempt may exist
--       blame: the region failed this instance, and is not tried again for it
--       promised: the client knows the instance; if its lease runs out it is tried again
--       wait: with no room elsewhere it goes (back) into the queue
-- Returns  JSON {outcome, region}: `short` (nothing is done: these candidates have no room, and there
--       are others); `moved` to region; `queued`; `none` has room (the instance is in
--       ERROR); `ended` as it is wanted no more (the next sweep releases it) or has a newer attempt
-- Safe to repeat: the nonce tells a lost answer from another caller's move.
local ask = cjson.decode(ARGV[1])
local now, record, events = now_ms(), KEYS[1], KEYS[2]
shares, heads, orders = KEYS[7], KEYS[8], KEYS[10]
local it = redis.call('HMGET', record, 'status', 'attempt', 'nonce', 'region', 'tried', 'queue', 'created_at_ms', 'said')
if it[3] == ask.nonce then return cjson.encode({outcome = 'moved', region = it[4]}) end
if #ask.regions < ask.of and not choose(ask.pick, rooms(ask, 11, now)) then
  return cjson.encode({outcome = 'short'})
end

local slot = ask.id .. '/' .. ask.attempt
local current = tonumber(it[2]) == ask.attempt and it[4] == ask.from
local held = redis.call('HGET', KEYS[6], slot)
if not ask.keep and held and current and it[1] == 'DELETING' then
  -- Its slot is all that leads a sweep to it: the next one releases it.
  held = cjson.decode(held)
  held.server_id, held.lease_until_ms = nil, now
  redis.call('HSET', KEYS[6], slot, cjson.encode(held))
elseif not ask.keep then
  drop(KEYS[5], KEYS[6], {slot}, {KEYS[3]})
end
if not current or it[1] ~= 'BUILD' then return cjson.encode({outcome = 'ended'}) end

local tried, said = read_texts(it[5]), read_texts(it[8])
tried[ask.from], said[ask.from_name] = ask.why, ask.why
if ask.blame then redis.call('HSET', record, 'tried', cjson.encode(tried)) end
redis.call('HSET', record, 'said', cjson.encode(said))
redis.call('HDEL', record, 'server_id', 'addresses', 'cloud_status')
tell(events, {at_ms = now, what = 'failed', region = ask.from, attempt = ask.attempt, why = ask.why})

local left, all = rooms(ask, 11, now)
local chosen = choose(ask.pick, left, all)
if not chosen and ask.wait then
  redis.call('HSET', record, 'status', 'QUEUED', 'region', '')
  join(KEYS[4], KEYS[9], KEYS[3], {it[7], it[6]})
  tell(events, {at_ms = now, what = 'queued', region = '', attempt = ask.attempt,
    why = 'no other region has a free slot for it'})
  return cjson.encode({outcome = 'queued'})
elseif not chosen then
  local story = {}
  for region, why in pairs(said) do story[#story + 1] = region .. ': ' .. why end
  table.sort(story)
  local error = 'no region worked: ' .. table.concat(story, '; ')
  redis.call('HSET', record, 'status', 'ERROR', 'error', error)
  let_order_go(record)
  tell(events, {at_ms = now, what = 'error', region = ask.from, attempt = ask.attempt, why = error})
  return cjson.encode({outcome = 'none'})
end

local to, kind, attempt = ask.regions[chosen], ask.kinds[ask.kind_of[chosen]], ask.attempt + 1
owned(KEYS[3], start(KEYS[9 + 2 * chosen], KEYS[10 + 2 * chosen], {ask.id .. '/' .. attempt},
  new_slot(ask.owner, kind.need, now, now + ask.lease_ms)))
redis.call('HSET', record, 'attempt', attempt, 'region', to, 'nonce', ask.nonce)
if ask.promised then redis.call('HSET', record, 'promised', 1) end
set_all(record, kind.fields)
tell(events, {at_ms = now, what = 'placed', region = to, attempt = attempt,
  why = 'elsewhere than ' .. ask.from_name})
return cjson.encode({outcome = 'moved', region = to})
