-- An instance is wanted no more: destroyed by its owner, due, or given up with its command.
-- KEYS  record (hash), events (list), due (zset), slots (hash) of the region it was last seen in,
--       queue, heads (zsets), the owner's line (zset) and usage (hash)
-- ARGV  1 id, 2 attempt and 3 region it was last seen with, 4 why, 5 `due`: only if its time is up;
--       `unpromised`: only if nobody was told of it, 6 `destroyed`, `expired` or `refused`: what it
--       is from now on
-- Returns  `DELETING` (its slot is held until the cloud shows no server), `EMPTY` (DELETING, and
--       it holds no slot: release it; it is due until then, as no sweep would meet it), `DELETED`
--       already, `MOVED` (read it again and repeat), `WANTED` (not due, or promised), `MISSING`
-- Safe to repeat.
local now = now_ms()
heads = KEYS[6]
local it = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'expires_at_ms', 'promised', 'queue', 'region')
if not it[1] then redis.call('ZREM', KEYS[3], ARGV[1]) return 'MISSING' end
if it[1] == 'DELETED' then
  -- It had vanished, maybe: from now on it does not come back.
  if ARGV[6] ~= 'expired' then redis.call('HSET', KEYS[1], 'ended', ARGV[6]) end
  return 'DELETED'
end
if it[2] ~= ARGV[2] or it[6] ~= ARGV[3] then return 'MOVED' end
if it[1] ~= 'DELETING' then
  if ARGV[5] == 'due' and tonumber(it[3]) > now then return 'WANTED' end
  if ARGV[5] == 'unpromised' and it[4] then return 'WANTED' end
  redis.call('HSET', KEYS[1], 'status', 'DELETING', 'ended', ARGV[6])
  if it[5] then leave(KEYS[5], KEYS[7], KEYS[8], it[5]) end
  tell(KEYS[2], {at_ms = now, what = 'deleting', region = ARGV[3], attempt = tonumber(ARGV[2]), why = ARGV[4]})
end
if ARGV[6] ~= 'expired' then redis.call('HSET', KEYS[1], 'ended', ARGV[6]) end
if redis.call('HEXISTS', KEYS[4], ARGV[1] .. '/' .. ARGV[2]) == 1 then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return 'DELETING'
end
redis.call('ZADD', KEYS[3], now, ARGV[1])
return 'EMPTY'
