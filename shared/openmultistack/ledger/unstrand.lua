-- The cloud of stranded instances is reached again: they are what they were.
-- KEYS  for each instance: record (hash), events (list)
-- ARGV  1 JSON {region, ids: [...]}
-- Returns  how many there were
-- Safe to repeat.
local ask, now, found = cjson.decode(ARGV[1]), now_ms(), 0
for i in ipairs(ask.ids) do
  local record, events = KEYS[2 * i - 1], KEYS[2 * i]
  local it = redis.call('HMGET', record, 'stranded', 'status', 'attempt')
  if it[1] then
    redis.call('HDEL', record, 'stranded')
    if it[1] ~= 'ERROR' then redis.call('HDEL', record, 'error') end
    if it[2] == 'ERROR' then redis.call('HSET', record, 'status', it[1]) end
    tell(events, {at_ms = now, what = 'found', region = ask.region, attempt = tonumber(it[3]),
      why = 'its cloud is reached again'})
    found = found + 1
  end
end
return found
