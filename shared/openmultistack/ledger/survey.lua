-- A sweep saw a region well: its caps and bounds, and what others use there.
-- KEYS  regions (set of names), region (hash), catalogue (string: JSON), versions (hash: of catalogues),
--       slots (hash), shares (string), numbers (hash: region to its place in shares), version (string),
--       unsuited (hash: region to version), refused (hash: kind of order to what the region said)
-- ARGV  1 region, 2 JSON {field: value} for the region ('' takes the field away), 3 catalogue as
--       JSON, or '' to keep it
-- Returns  1
-- Safe to repeat.
version = KEYS[8]
redis.call('SADD', KEYS[1], ARGV[1])
if redis.call('HGET', KEYS[2], 'state') == 'removed' then
  redis.call('HDEL', KEYS[2], 'last_error', 'last_error_at_ms')
end
-- What is no number where one belongs stands for nothing, and would stop whoever counts with it.
local numbers = {'building', 'starts_at_ms', 'failures', 'open_until_ms', 'probe_until_ms', 'pauses',
  'paused_until_ms', 'last_error_at_ms'}
for _, what in ipairs({AMOUNTS}) do numbers[#numbers + 1] = 'held_' .. what end
for i, value in ipairs(redis.call('HMGET', KEYS[2], unpack(numbers))) do
  if value and not tonumber(value) then redis.call('HDEL', KEYS[2], numbers[i]) end
end
for field, value in pairs(cjson.decode(ARGV[2])) do
  if value == '' then redis.call('HDEL', KEYS[2], field) else redis.call('HSET', KEYS[2], field, value) end
end
redis.call('HSET', KEYS[2], 'swept_at_ms', now_ms())
redis.call('HDEL', KEYS[2], 'full')
if ARGV[3] ~= '' then
  stock(ARGV[1], KEYS[2], KEYS[3], KEYS[4], KEYS[9], KEYS[10], ARGV[3])
end
shares = KEYS[6]
if not number_of(redis.call('HGET', KEYS[2], 'number')) then
  -- One that was forgotten and is back has the number that it had.
  local number = number_of(redis.call('HGET', KEYS[7], ARGV[1]))
    or math.floor(redis.call('STRLEN', KEYS[6]) / 2)
  redis.call('HSET', KEYS[2], 'number', number)
  redis.call('HSET', KEYS[7], ARGV[1], number)
  write_share(number, 0)
  changed(number)
end
show(KEYS[2], KEYS[5], now_ms())
return 1
