-- Admit one command: reserve its slots (all of them, as many as there are if partial), and let the
-- rest wait if it may.
-- KEYS  for each candidate in rank order: region (hash: counts), slots (hash: slot -> JSON)
--       for each instance: record (hash), events (list)
--       due (zset: id by epoch ms), queue (zset: member by epoch ms), usage (hash: the owner's),
--       idempotency key (hash: body, 1..n -> id), shares (string), heads, the owner's line (zsets),
--       orders (hash), keyed (zset: the owner's keys by when each is forgotten, see _keyed), then the
--       indices that list the instances (zsets)
-- ARGV  1 JSON {pick, partial, lease_ms, ttl_ms, fields, ids, quota,
--         commands_per_minute: of the owner's, if that is bounded,
--         key: {digest, body, mark, keep_ms, max: so many an owner has} if there is one,
--         queue: {members, max, max_of_owner, wait_ms, fields} if it may wait,
--         regions: [name of each candidate], kind_of: [its place in kinds],
--         kinds: [{need: of each resource, fields}], of: how many candidates the command has in all}
-- Returns  JSON {outcome, regions: [of each placed instance, in order; '' for one that waits],
--         free: slots there were, now_ms, retry_ms}; the outcome is `placed`, or with nothing done
--         `short` (these candidates have too little room, and there are others), `full`, `quota`,
--         `rate`, `command_rate` (retry_ms), `queue_full`, `owner_queue_full`, `keys_full`,
--         `conflict` (another body with the same key), `repeated` (ids: the instances that the key
--         stands for)
-- Safe to repeat: a command whose first record exists gets the answer it got.
local ask = cjson.decode(ARGV[1])
local now, wanted, regions = now_ms(), #ask.ids, {}
local records = 2 * #ask.regions + 1
local due = records + 2 * wanted
local queue, usage, key = KEYS[due + 1], KEYS[due + 2], KEYS[due + 3]
shares, heads, orders = KEYS[due + 4], KEYS[due + 5], KEYS[due + 7]
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

if ask.key then
  redis.call('ZREMRANGEBYSCORE', KEYS[due + 8], '-inf', now)
  local many = redis.call('ZCARD', KEYS[due + 8]) + #counted_as(ask.key.digest, wanted)
  if many > ask.key.max then return answer('keys_full') end
end

local commands, command_paid = ask.commands_per_minute, nil
if commands then
  local left
  left, command_paid = starts_left(redis.call('HGET', usage, 'commands_at_ms'), commands, commands, now)
  if left < 1 then return answer('command_rate', {retry_ms = math.ceil(command_paid - now)}) end
end
local rate, paid = ask.quota.creates_per_minute, nil
if rate then
  paid = redis.call('HGET', usage, 'starts_at_ms')
  local left, step = starts_left(paid, rate, rate, now), 60000 / rate
  if left < wanted then return answer('rate', {retry_ms = math.ceil((wanted - left) * step)}) end
end

local picks, free, short_of = choose_all(ask, wanted, spare(usage, ask.quota), now)
local short = wanted - #picks
if short > 0 and short_of == 'full' and #ask.regions < ask.of then return answer('short') end
if short > 0 and ask.queue then
  local own = redis.call('ZCARD', KEYS[due + 6]) + short
  if own > ask.queue.max_of_owner then return answer('owner_queue_full') end
  if redis.call('ZCARD', queue) + short > ask.queue.max then return answer('queue_full') end
elseif short > 0 and (#picks == 0 or not ask.partial) then
  return answer(short_of, {free = free})
end

-- What all instances of one kind have in common, made once; those of none wait.
local kinds = {}
local function kind_at(place)
  local of = ask.kinds[place] or {fields = ask.queue.fields}
  local due_at = now + (of.need and ask.ttl_ms or ask.queue.wait_ms)
  local flat = push_all({'created_at_ms', now, 'expires_at_ms', due_at, 'ttl_ms', ask.ttl_ms,
    'status', of.need and 'BUILD' or 'QUEUED', 'attempt', of.need and 1 or 0}, ask.fields)
  push_all(flat, of.fields)
  if ask.queue then push(flat, 'promised', 1) end
  kinds[place] = {flat = flat, due_at = due_at,
    slot = of.need and new_slot(ask.fields.owner, of.need, now, now + ask.lease_ms)}
  return kinds[place]
end

-- And of one region.
local goes_to = {}
local function going_to(at)
  local region, event = ask.regions[at] or '', nil
  if at > 0 then
    event = {at_ms = now, what = 'placed', region = region, attempt = 1,
      why = ask.pick .. ' of ' .. ask.of .. ' regions'}
  else
    event = {at_ms = now, what = 'queued', region = region, attempt = 0,
      why = short_of == 'quota' and 'the quota of its owner is used up'
        or 'no region has a free slot for it'}
  end
  local place = ask.kind_of[at] or 0
  goes_to[at] = {region = region, event = cjson.encode(event), names = {}, kind = kinds[place] or kind_at(place)}
  return goes_to[at]
end

local dues, members, waiting, sum = {}, {}, {}, nil
ask.fields.order = keep_order(ask.fields.order, ask.ids[1], ask.queue and wanted or #picks)
for i = 1, ask.queue and wanted or #picks do
  local id, record, at = ask.ids[i], KEYS[records + 2 * (i - 1)], picks[i] or 0
  local it = goes_to[at] or going_to(at)
  if rate then paid = select(2, starts_left(paid, rate, rate, now)) end
  redis.call('HSET', record, 'id', id, 'region', it.region, unpack(it.kind.flat))
  if ask.queue then redis.call('HSET', record, 'queue', ask.queue.members[i]) end
  if ask.key then redis.call('HSET', record, 'idempotency', ask.key.mark .. ':' .. i) end
  tell_text(KEYS[records + 2 * i - 1], it.event)
  regions[i] = it.region
  it.names[#it.names + 1] = id .. '/1'
  if at == 0 then push(waiting, now, ask.queue.members[i]) end
  push(dues, it.kind.due_at, id)
  push(members, 0, id)
end
for at, it in pairs(goes_to) do
  if at > 0 then sum = start(KEYS[2 * at - 1], KEYS[2 * at], it.names, it.kind.slot, sum) end
end
if sum then owned(usage, sum) end
if #waiting > 0 then join(queue, KEYS[due + 6], usage, waiting) end
redis.call('ZADD', KEYS[due], unpack(dues))
for index = due + 9, #KEYS do redis.call('ZADD', KEYS[index], unpack(members)) end
if ask.key then
  local stands_for = {}
  for i = 1, #regions do push(stands_for, i, ask.ids[i]) end
  redis.call('HSET', key, 'body', ask.key.body, unpack(stands_for))
  redis.call('PEXPIRE', key, ask.key.keep_ms)
  for _, member in ipairs(counted_as(ask.key.digest, #regions)) do
    redis.call('ZADD', KEYS[due + 8], now + ask.key.keep_ms, member)
  end
  redis.call('PEXPIRE', KEYS[due + 8], ask.key.keep_ms)
end
if rate then redis.call('HSET', usage, 'starts_at_ms', paid) end
if commands then redis.call('HSET', usage, 'commands_at_ms', command_paid) end
return answer('placed', {free = free})
