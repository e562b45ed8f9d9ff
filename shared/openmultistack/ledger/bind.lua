-- A configured name was found to stand for a place. A place has one name: of two that are configured,
-- the one that takes part before the one that is disabled, then the one with slots, then the earlier.
-- KEYS  places (hash: place to JSON {name, endpoint, project, region, renames: [{at_ms, from, to}], the
--       last few, of which stories tell; was: its name, until another place took that}), named (hash:
--       names of now and of before to places), claims (hash: configured name to the place last found), regions (set),
--       version (string), region and slots (hashes) of the place, region (hash) of the name while it
--       stood for itself
-- ARGV  1 name, 2 place, 3 JSON of what the place is, 4 JSON {name: rank} of what is configured: the
--       lower goes first, those disabled have 1e6 more
-- Returns  JSON {outcome, of}: `bound`; `renamed` from `of`; `duplicate` of the name `of`
-- Safe to repeat.
local RENAMES_KEPT = 5
local now, name, place, ranks = now_ms(), ARGV[1], ARGV[2], cjson.decode(ARGV[4])
redis.call('HSET', KEYS[3], name, place)
version = KEYS[5]

-- Another place that had the name is told apart from now on.
local function take_name()
  local other = redis.call('HGET', KEYS[2], name)
  local text = other and other ~= place and redis.call('HGET', KEYS[1], other)
  if not text then return end
  local entry = cjson.decode(text)
  if entry.name ~= name then return end
  entry.was = name
  entry.name = name .. '~' .. string.sub(other, 3, 8)
  redis.call('HSET', KEYS[1], other, cjson.encode(entry))
  redis.call('HSET', KEYS[2], entry.name, other)
  changed(name .. place)
end

take_name()
local known = redis.call('HGET', KEYS[1], place)
local before = known and cjson.decode(known) or {}
local was = before.name
if was and was ~= name and ranks[was] and redis.call('HGET', KEYS[3], was) == place then
  local own, other = ranks[name] or math.huge, ranks[was]
  local alike = own ~= math.huge and math.floor(own / 1e6) == math.floor(other / 1e6)
  if own > other or (alike and redis.call('HLEN', KEYS[7]) > 0) then
    -- It stands for itself from now on, whatever somebody remembers of it.
    if redis.call('HGET', KEYS[2], name) ~= name then changed(name .. place) end
    redis.call('HSET', KEYS[2], name, name)
    redis.call('SADD', KEYS[4], name)
    redis.call('HSET', KEYS[8], 'state', 'duplicate', 'last_error_at_ms', now,
      'repeats', was)
    return cjson.encode({outcome = 'duplicate', of = was})
  end
end

local entry = cjson.decode(ARGV[3])
entry.name, entry.renames = name, before.renames
if was and (before.was or was) ~= name then
  local told = entry.renames or {}
  told[#told + 1] = {at_ms = now, from = before.was or was, to = name}
  if #told > RENAMES_KEPT then table.remove(told, 1) end
  entry.renames = told
end
redis.call('HSET', KEYS[1], place, cjson.encode(entry))
redis.call('HSET', KEYS[2], name, place)
redis.call('SADD', KEYS[4], place)
changed(name .. place)
-- What was said of the name before it was known what it stands for.
redis.call('SREM', KEYS[4], name)
local drained = redis.call('HGET', KEYS[8], 'drained')
if drained then redis.call('HSETNX', KEYS[6], 'drained', drained) end
redis.call('DEL', KEYS[8])
local renamed = was and was ~= name
return cjson.encode({outcome = renamed and 'renamed' or 'bound', of = renamed and was or ''})
