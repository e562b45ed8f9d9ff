-- Admit one command: reserve its slots (all of them, as many as there are if partial), and let the
-- rest wait if it may.
-- KEYS  for each candidate in rank order: region (hash: counts), slots (hash: slot -> JSON)
--       for each instance: record (hash), events (list)
--       due (zset: id by epoch ms), queue (zset: member by epoch ms), usage (hash: the owner's),
--       idempotency key (hash: body, 1..n -> id), then the indices that list the instances (zsets)
-- ARGV  1 JSON {pick, partial, lease_ms, ttl_ms, fields, ids, quota,
--         key: {body, mark, keep_ms} if there is one,
--         queue: {members, max, wait_ms, fields} if it may wait,
--         candidates: [{region, kind}], kinds: [{need: {vcpus, ram_mb}, fields}]}
-- Returns  JSON {outcome, regions: [of each placed instance, in order; '' for one that waits],
--         free: slots there were, now_ms, retry_ms}; the outcome is `placed`, or with nothing done
--         `full`, `quota`, `rate` (retry_ms), `queue_full`, `conflict` (another body with the same
--         key), `repeated` (ids: the instances that the key stands for)
-- Safe to repeat: a command whose first record exists gets the answer it got.
local ask = kinds_told(cjson.decode(ARGV[1]))
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

-- What all instances that go to one region have in common, made once; without one they wait.
local like = {}
local function alike(at)
  local chosen, event = candidates[at], {at_ms = now, what = 'queued', region = '', attempt = 0}
  local lasts_ms = chosen and ask.ttl_ms or ask.queue.wait_ms
  if chosen then
    event.what, event.region, event.attempt = 'placed', chosen.region, 1
    event.why = ask.pick .. ' of ' .. #candidates .. ' regions'
  else
    event.why = short_of == 'quota' and 'the quota of its owner is used up'
      or 'no region has a free slot for it'
  end
  local flat = push_all({'created_at_ms', now, 'expires_at_ms', now + lasts_ms,
    'region', event.region, 'ttl_ms', ask.ttl_ms, 'status', chosen and 'BUILD' or 'QUEUED',
    'attempt', event.attempt}, ask.fields)
  push_all(flat, chosen and chosen.fields or ask.queue.fields)
  if ask.queue then push(flat, 'promised', 1) end
  like[at] = {flat = flat, event = cjson.encode(event), due_at = now + lasts_ms, names = {}}
  return like[at]
end

local dues, members, waiting, sum = {}, {}, {}, nil
for i = 1, ask.queue and wanted or #picks do
  local id, record, at = ask.ids[i], KEYS[records + 2 * (i - 1)], picks[i] or 0
  local it = like[at] or alike(at)
  if rate then paid = select(2, starts_left(paid, rate, rate, now)) end
  redis.call('HSET', record, 'id', id, unpack(it.flat))
  if ask.queue then redis.call('HSET', record, 'queue', ask.queue.members[i]) end
  if ask.key then redis.call('HSET', record, 'idempotency', ask.key.mark .. ':' .. i) end
  tell_text(KEYS[records + 2 * i - 1], it.event)
  regions[i] = at > 0 and candidates[at].region or ''
  it.names[#it.names + 1] = id .. '/1'
  if at == 0 then push(waiting, now, ask.queue.members[i]) end
  push(dues, it.due_at, id)
  push(members, 0, id)
end
for at, it in pairs(like) do
  if at > 0 then
    local need = candidates[at].need
    sum = start(KEYS[2 * at - 1], KEYS[2 * at], it.names, {owner = ask.fields.owner,
      vcpus = need.vcpus, ram_mb = need.ram_mb, lease_until_ms = now + ask.lease_ms}, now, sum)
  end
end
if sum then owned(usage, sum) end
if #waiting > 0 then redis.call('ZADD', queue, unpack(waiting)) end
redis.call('ZADD', KEYS[due], unpack(dues))
for index = due + 4, #KEYS do redis.call('ZADD', KEYS[index], unpack(members)) end
if ask.key then
  local stands_for = {}
  for i = 1, #regions do push(stands_for, i, ask.ids[i]) end
  redis.call('HSET', key, 'body', ask.key.body, unpack(stands_for))
  redis.call('PEXPIRE', key, ask.key.keep_ms)
end
if rate then redis.call('HSET', usage, 'starts_at_ms', paid) end
return answer('placed', {free = free})
