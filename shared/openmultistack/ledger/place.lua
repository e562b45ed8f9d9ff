-- Admit one command: reserve its slots (all of them, as many as there are if partial), and let the
-- rest wait if it may.
-- KEYS  for each candidate in rank order: region (hash: counts), slots (hash: slot -> JSON)
--       for each instance: record (hash), events (list)
--       due (zset: id by epoch ms), queue (zset: member by epoch ms), usage (hash: the owner's),
--       idempotency key (hash: body, 1..n -> id), then the indices that list the instances (zsets)
-- ARGV  1 JSON {pick, partial, lease_ms, ttl_ms, fields, ids, quota,
--         key: {body, mark, keep_ms} if there is one,
--         queue: {members, max, wait_ms, fields} if it may wait,
--         candidates: [{region, need: {vcpus, ram_mb}, fields}]}
-- Returns  JSON {outcome, regions: [of each placed instance, in order; '' for one that waits],
--         free: slots there were, now_ms, retry_ms}; the outcome is `placed`, or with nothing done
--         `full`, `quota`, `rate` (retry_ms), `queue_full`, `conflict` (another body with the same
--         key), `repeated` (ids: the instances that the key stands for)
-- Safe to repeat: a command whose first record exists gets the answer it got.
local ask = cjson.decode(ARGV[1])
local now, wanted, candidates, regions = now_ms(), #ask.ids, ask.candidates, {}
local records = 2 * #candidates + 1
local due = records + 2 * wanted
local queue, usage, key = KEYS[due + 1], KEYS[due + 2], KEYS[due + 3]
local function answer(outcome, more)
  local told = {outcome = outcome, regions = regions, free = 0, now_ms = now}
  for name, value in pairs(more or {}) do told[name] = value end
  return cjson.encode(told)
end

if redis.call('EXISTS', KEYS[records]) == 1 then
  for i = 1, wanted do
    regions[i] = redis.call('HGET', KEYS[records + 2 * (i - 1)], 'region') or nil
  end
  now = tonumber(redis.call('HGET', KEYS[records], 'created_at_ms'))
  return answer('placed', {free = #regions})
end
if ask.key and redis.call('EXISTS', key) == 1 then
  if redis.call('HGET', key, 'body') ~= ask.key.body then return answer('conflict') end
  return answer('repeated')
end

local rate, paid = ask.quota.creates_per_minute, redis.call('HGET', usage, 'starts_at_ms')
if rate then
  local left, step = starts_left(paid, rate, rate, now), 60000 / rate
  if left < wanted then return answer('rate', {retry_ms = math.ceil((wanted - left) * step)}) end
end

local picks, free, short_of = choose_all(ask, wanted, spare(usage, ask.quota), now)
local short = wanted - #picks
if short > 0 and ask.queue then
  if redis.call('ZCARD', queue) + short > ask.queue.max then return answer('queue_full') end
elseif short > 0 and (#picks == 0 or not ask.partial) then
  return answer(short_of, {free = free})
end

local made = ask.queue and wanted or #picks
for i = 1, made do
  if rate then paid = select(2, starts_left(paid, rate, rate, now)) end
  local id, record, events = ask.ids[i], KEYS[records + 2 * (i - 1)], KEYS[records + 2 * i - 1]
  local chosen, at = candidates[picks[i]], 2 * (picks[i] or 0)
  local lasts_ms = chosen and ask.ttl_ms or ask.queue.wait_ms
  regions[i] = chosen and chosen.region or ''
  redis.call('HSET', record, 'id', id, 'created_at_ms', now, 'expires_at_ms', now + lasts_ms,
    'region', regions[i], 'ttl_ms', ask.ttl_ms, 'status', chosen and 'BUILD' or 'QUEUED',
    'attempt', chosen and 1 or 0)
  set_all(record, ask.fields)
  if ask.queue then redis.call('HSET', record, 'queue', ask.queue.members[i], 'promised', 1) end
  if chosen then
    start(KEYS[at - 1], KEYS[at], usage, id .. '/1', {owner = ask.fields.owner,
      vcpus = chosen.need.vcpus, ram_mb = chosen.need.ram_mb, lease_until_ms = now + ask.lease_ms}, now)
    set_all(record, chosen.fields)
    tell(events, {at_ms = now, what = 'placed', region = chosen.region, attempt = 1,
      why = ask.pick .. ' of ' .. #candidates .. ' regions'})
  else
    set_all(record, ask.queue.fields)
    redis.call('ZADD', queue, now, ask.queue.members[i])
    tell(events, {at_ms = now, what = 'queued', region = '', attempt = 0,
      why = short_of == 'quota' and 'the quota of its owner is used up' or 'no region has a free slot for it'})
  end
  if ask.key then
    redis.call('HSET', key, 'body', ask.key.body, i, id)
    redis.call('PEXPIRE', key, ask.key.keep_ms)
    redis.call('HSET', record, 'idempotency', ask.key.mark .. ':' .. i)
  end
  redis.call('ZADD', KEYS[due], now + lasts_ms, id)
  for index = due + 4, #KEYS do redis.call('ZADD', KEYS[index], 0, id) end
end
if rate then redis.call('HSET', usage, 'starts_at_ms', paid) end
return answer('placed', {free = free})
