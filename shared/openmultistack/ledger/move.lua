-- An attempt failed: leave its region and reserve a slot elsewhere, as the next attempt.
-- KEYS  record (hash), events (list), region and slots of the failed attempt (hashes),
--       then region and slots of each candidate in rank order (hashes)
-- ARGV  1 JSON {id, attempt, from, keep, promised, why, pick, lease_ms, nonce,
--         candidates: [{region, need: {vcpus, ram_mb}, fields}]}
--       keep: leaves the old slot held, as a server of that attempt may exist
--       promised: the client knows the instance; if its lease runs out it is tried again
-- Returns  JSON {outcome, region}: `moved` to region; `none` has room (the attempt stays the
--       current one); `ended` as the instance is wanted no more (the next sweep releases it) or
--       has a newer attempt
-- Safe to repeat: the nonce tells a lost answer from another caller's move.
local ask = cjson.decode(ARGV[1])
local now, record, events = now_ms(), KEYS[1], KEYS[2]
local it = redis.call('HMGET', record, 'status', 'attempt', 'nonce', 'region', 'tried')
if it[3] == ask.nonce then return cjson.encode({outcome = 'moved', region = it[4]}) end

local slot, current = ask.id .. '/' .. ask.attempt, tonumber(it[2]) == ask.attempt
local held = redis.call('HGET', KEYS[4], slot)
if not ask.keep and held and current and it[1] == 'DELETING' then
  -- Its slot is all that leads a sweep to it: the next one releases it.
  held = cjson.decode(held)
  held.server_id, held.lease_until_ms, held.promised = nil, now, nil
  redis.call('HSET', KEYS[4], slot, cjson.encode(held))
elseif not ask.keep then
  drop(KEYS[3], KEYS[4], slot)
end
if not current or it[1] ~= 'BUILD' then return cjson.encode({outcome = 'ended'}) end

local tried = cjson.decode(it[5] or '{}')
tried[ask.from] = ask.why
redis.call('HSET', record, 'tried', cjson.encode(tried))
tell(events, {at_ms = now, what = 'failed', region = ask.from, attempt = ask.attempt, why = ask.why})

local left, all = {}, {}
for i, candidate in ipairs(ask.candidates) do
  left[i], all[i] = room(KEYS[3 + 2 * i], KEYS[4 + 2 * i], candidate.need)
end
local chosen = choose(ask.pick, left, all)
if not chosen then return cjson.encode({outcome = 'none'}) end

local candidate, attempt = ask.candidates[chosen], ask.attempt + 1
take(KEYS[3 + 2 * chosen], KEYS[4 + 2 * chosen], ask.id .. '/' .. attempt, {
  vcpus = candidate.need.vcpus, ram_mb = candidate.need.ram_mb,
  since_ms = now, lease_until_ms = now + ask.lease_ms, promised = ask.promised})
redis.call('HSET', record, 'attempt', attempt, 'region', candidate.region, 'nonce', ask.nonce)
redis.call('HDEL', record, 'server_id', 'addresses')
for field, value in pairs(candidate.fields) do redis.call('HSET', record, field, value) end
tell(events, {at_ms = now, what = 'placed', region = candidate.region, attempt = attempt,
  why = 'elsewhere than ' .. ask.from})
return cjson.encode({outcome = 'moved', region = candidate.region})
