-- The cloud of some instances cannot be reached any more, as their provider was taken out: they are
-- told of, and one whose time is up is in ERROR from now on.
-- KEYS  due (zset), orders (hash), then for each instance: record (hash), events (list)
-- ARGV  1 JSON {region, why, again_ms: in so long one that is due is looked at again, ids: [...]}
-- Returns  how many are told of for the first time
-- Safe to repeat.
local ask, now, told = cjson.decode(ARGV[1]), now_ms(), 0
orders = KEYS[2]
for i, id in ipairs(ask.ids) do
  local record, events = KEYS[2 * i + 1], KEYS[2 * i + 2]
  local it = redis.call('HMGET', record, 'status', 'attempt', 'region', 'stranded', 'expires_at_ms', 'ended')
  local living = it[1] == 'BUILD' or it[1] == 'ACTIVE' or it[1] == 'ERROR'
    or (it[1] == 'DELETING' and it[6] == 'expired')
  if it[3] == ask.region and (living or it[1] == 'DELETING') then
    if not it[4] then
      redis.call('HSET', record, 'stranded', it[1])
      if it[1] ~= 'ERROR' then redis.call('HSET', record, 'error', ask.why) end
      tell(events, {at_ms = now, what = 'stranded', region = ask.region, attempt = tonumber(it[2]), why = ask.why})
      told = told + 1
    end
    if living and tonumber(it[5]) <= now then
      if it[1] ~= 'ERROR' then
        redis.call('HSET', record, 'status', 'ERROR')
        let_order_go(record)
        tell(events, {at_ms = now, what = 'error', region = ask.region, attempt = tonumber(it[2]),
          why = 'its time is up, and its cloud cannot be reached'})
      end
      redis.call('ZADD', KEYS[1], now + ask.again_ms, id)
    end
  end
end
return told
