-- A sweep saw a region well: its caps and bounds, and what others use there.
-- KEYS  regions (set of names), region (hash), catalogue (string: JSON), versions (hash: of catalogues),
--       slots (hash), shares (string), numbers (hash: region to its place in shares), version (string:
--       another one whenever versions or numbers change)
-- ARGV  1 region, 2 JSON {field: value} for the region ('' takes the field away), 3 catalogue as
--       JSON, or '' to keep it
-- Returns  1
-- Safe to repeat.
-- What is read again when it changes is told by one text, made of all changes so far.
local function changed(what)
  local before = redis.call('GET', KEYS[8]) or ''
  redis.call('SET', KEYS[8], redis.sha1hex(before .. ARGV[1] .. what))
end

redis.call('SADD', KEYS[1], ARGV[1])
for field, value in pairs(cjson.decode(ARGV[2])) do
  if value == '' then redis.call('HDEL', KEYS[2], field) else redis.call('HSET', KEYS[2], field, value) end
end
redis.call('HSET', KEYS[2], 'swept_at_ms', now_ms())
redis.call('HDEL', KEYS[2], 'full')
if ARGV[3] ~= '' then
  local version = redis.sha1hex(ARGV[3])
  redis.call('SET', KEYS[3], ARGV[3])
  if redis.call('HGET', KEYS[4], ARGV[1]) ~= version then
    redis.call('HSET', KEYS[4], ARGV[1], version)
    changed(version)
  end
  redis.call('HSET', KEYS[2], 'catalogue_at_ms', now_ms())
end
shares = KEYS[6]
if redis.call('HEXISTS', KEYS[2], 'number') == 0 then
  local number = math.floor(redis.call('STRLEN', KEYS[6]) / 2)
  redis.call('HSET', KEYS[2], 'number', number)
  redis.call('HSET', KEYS[7], ARGV[1], number)
  write_share(number, 0)
  changed(number)
end
show(KEYS[2], KEYS[5], now_ms())
return 1
