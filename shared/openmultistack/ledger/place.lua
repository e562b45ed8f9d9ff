-- Admit one command and reserve its slots: all of them, or as many as there are if partial.
-- KEYS  for each candidate in rank order: region (hash: counts), slots (hash: slot -> JSON)
--       for each instance: record (hash), events (list)
--       due (zset: id by epoch ms), then the indices that list the instances (zsets)
-- ARGV  1 JSON {pick, partial, lease_ms, ttl_ms, fields, ids,
--         candidates: [{region, need: {vcpus, ram_mb}, fields}]}
-- Returns  JSON {regions: [name of each placed instance, in order], free: slots there were, now_ms}
-- Safe to repeat: a command whose first record exists gets the answer it got.
local ask = cjson.decode(ARGV[1])
local now, candidates, wanted = now_ms(), #ask.candidates, #ask.ids
local first_record, regions = 2 * candidates + 1, {}
local due = first_record + 2 * wanted

if redis.call('EXISTS', KEYS[first_record]) == 1 then
  for i = 1, wanted do
    regions[i] = redis.call('HGET', KEYS[first_record + 2 * (i - 1)], 'region') or nil
  end
  now = tonumber(redis.call('HGET', KEYS[first_record], 'created_at_ms'))
  return cjson.encode({regions = regions, free = #regions, now_ms = now})
end

local left, all, free = {}, {}, 0
for i, candidate in ipairs(ask.candidates) do
  left[i], all[i] = room(KEYS[2 * i - 1], KEYS[2 * i], candidate.need)
  free = free + left[i]
end
if free == 0 or (free < wanted and not ask.partial) then
  return cjson.encode({regions = regions, free = free, now_ms = now})
end

for i = 1, math.min(free, wanted) do
  local chosen = choose(ask.pick, left, all)
  local candidate, id = ask.candidates[chosen], ask.ids[i]
  local record = KEYS[first_record + 2 * (i - 1)]
  left[chosen] = left[chosen] - 1
  take(KEYS[2 * chosen - 1], KEYS[2 * chosen], id .. '/1', {
    vcpus = candidate.need.vcpus, ram_mb = candidate.need.ram_mb,
    since_ms = now, lease_until_ms = now + ask.lease_ms})
  redis.call('HSET', record, 'id', id, 'status', 'BUILD', 'attempt', 1, 'region', candidate.region,
    'created_at_ms', now, 'expires_at_ms', now + ask.ttl_ms)
  for _, fields in ipairs({ask.fields, candidate.fields}) do
    for field, value in pairs(fields) do redis.call('HSET', record, field, value) end
  end
  tell(KEYS[first_record + 2 * i - 1], {at_ms = now, what = 'placed', region = candidate.region,
    attempt = 1, why = ask.pick .. ' of ' .. candidates .. ' regions; ' .. left[chosen] .. ' more fit'})
  redis.call('ZADD', KEYS[due], now + ask.ttl_ms, id)
  for index = due + 1, #KEYS do redis.call('ZADD', KEYS[index], 0, id) end
  regions[i] = candidate.region
end
return cjson.encode({regions = regions, free = free, now_ms = now})
