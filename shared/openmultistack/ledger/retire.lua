-- A region takes nothing new: it is disabled, or no entry of clouds.yaml leads there any more.
-- KEYS  region (hash), shares (string)
-- ARGV  1 `retiring`, `retired` (it is empty) or `removed`, 2 why
-- Returns  1, or 0 if it was so before
-- Safe to repeat.
shares = KEYS[2]
if redis.call('HGET', KEYS[1], 'state') == ARGV[1] then return 0 end
hide(KEYS[1])
redis.call('HSET', KEYS[1], 'state', ARGV[1])
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'last_error', ARGV[2], 'last_error_at_ms', now_ms())
else
  redis.call('HDEL', KEYS[1], 'last_error', 'last_error_at_ms')
end
return 1
