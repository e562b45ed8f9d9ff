-- A sweep saw a region well: its caps and bounds, and what others use there.
-- KEYS  regions (set of names), region (hash), catalogue (string: JSON), versions (hash: of catalogues)
-- ARGV  1 region, 2 JSON {field: value} for the region ('' takes the field away), 3 catalogue as
--       JSON, or '' to keep it
-- Returns  1
-- Safe to repeat.
redis.call('SADD', KEYS[1], ARGV[1])
for field, value in pairs(cjson.decode(ARGV[2])) do
  if value == '' then redis.call('HDEL', KEYS[2], field) else redis.call('HSET', KEYS[2], field, value) end
end
redis.call('HSET', KEYS[2], 'state', 'up', 'swept_at_ms', now_ms())
redis.call('HDEL', KEYS[2], 'full')
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[3], ARGV[3])
  redis.call('HSET', KEYS[4], ARGV[1], redis.sha1hex(ARGV[3]))
  redis.call('HSET', KEYS[2], 'catalogue_at_ms', now_ms())
end
return 1
