-- The cloud is known to have no server for attempts in a region: free their slots. Where that was
-- the instance's present attempt, the instance is over too (one in ERROR stays, to be seen); unless
-- it was ended before, it merely vanished: `ended` says why.
-- KEYS  region, slots (hashes), due (zset), shares (string), heads (zset), orders (hash), then what the attempts
--       refer to by its place in KEYS:
--       usage (hash: the owner's), record (hash), events (list), gone (zset: the owner's ended
--       instances), and the indices that list an instance while it lives (zsets)
-- ARGV  1 JSON {region, keep_ms: for so long an ended instance is remembered,
--         attempts: [{id, attempt, why, usage, record, events, gone, indices: [...],
--           end: an instance in ERROR is over as well}]}
-- Returns  of each attempt 1 if a slot was freed, else 0
-- Safe to repeat.
local ask, now, names, usages = cjson.decode(ARGV[1]), now_ms(), {}, {}
shares, heads, orders = KEYS[4], KEYS[5], KEYS[6]
for i, it in ipairs(ask.attempts) do
  names[i], usages[i] = it.id .. '/' .. it.attempt, KEYS[it.usage]
end
local freed = drop(KEYS[1], KEYS[2], names, usages)

local function is_over(it)
  local was = redis.call('HMGET', KEYS[it.record], 'status', 'attempt', 'region', 'ended')
  if was[2] ~= tostring(it.attempt) or was[3] ~= ask.region then return false end
  if was[1] == 'DELETED' or was[1] == 'QUEUED' then return false end
  local failed = was[1] == 'ERROR'
  if not failed or it['end'] then
    local why = was[1] == 'DELETING' and 'destroyed' or failed and 'failed' or 'vanished'
    return was[4] or why
  end
  redis.call('HDEL', KEYS[it.record], 'server_id')
  return false
end

local events = {}
local function event_of(it)
  local same = it.attempt .. it.why
  events[same] = events[same] or cjson.encode({at_ms = now, what = 'deleted', region = ask.region,
    attempt = it.attempt, why = it.why})
  return events[same]
end

local dues, unlisted, gone = {}, {}, {}
for _, it in ipairs(ask.attempts) do
  local ended = is_over(it)
  if ended then
    redis.call('HSET', KEYS[it.record], 'status', 'DELETED', 'ended', ended)
    redis.call('HDEL', KEYS[it.record], 'server_id', 'addresses', 'cloud_status')
    let_order_go(KEYS[it.record])
    tell_text(KEYS[it.events], event_of(it))
    push(dues, now + ask.keep_ms, it.id)
    gone[it.gone] = gone[it.gone] or {}
    push(gone[it.gone], 0, it.id)
    for _, index in ipairs(it.indices) do
      unlisted[index] = unlisted[index] or {}
      table.insert(unlisted[index], it.id)
    end
  end
end
if #dues > 0 then redis.call('ZADD', KEYS[3], unpack(dues)) end
for key, members in pairs(gone) do redis.call('ZADD', KEYS[key], unpack(members)) end
for key, members in pairs(unlisted) do redis.call('ZREM', KEYS[key], unpack(members)) end
return freed
