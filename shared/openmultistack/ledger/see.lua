-- Take note of a token that was used; at most once a minute for each.
-- KEYS  tokens (hash: id to JSON), tokens' ends (zset, ms), tokens' uses (zset, ms),
--       the owner's tokens (zset: uses, ms)
-- ARGV  1 id, 2 JSON, 3 its end in ms since 1970, 4 how many of an owner are kept, 5 how many in all
-- Returns  1, or 0 if it was noted within the last minute
-- Safe to repeat: yes.
local now, id = now_ms(), ARGV[1]
local last = redis.call('ZSCORE', KEYS[3], id)
if last and now - last < 60000 then return 0 end

local function drop(ids)
  for _, it in ipairs(ids) do
    redis.call('HDEL', KEYS[1], it)
    for n = 2, 4 do redis.call('ZREM', KEYS[n], it) end
  end
end

drop(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100))
redis.call('HSET', KEYS[1], id, ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], id)
redis.call('ZADD', KEYS[3], now, id)
redis.call('ZADD', KEYS[4], now, id)
-- Those used longest ago go first. Of another owner's the id stays in their set, with nothing to it.
for _, n in ipairs({4, 3}) do
  local over = redis.call('ZCARD', KEYS[n]) - ARGV[8 - n]
  if over > 0 then drop(redis.call('ZRANGE', KEYS[n], 0, over - 1)) end
end
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < ARGV[3] - now then redis.call('PEXPIREAT', key, ARGV[3]) end
end
return 1
