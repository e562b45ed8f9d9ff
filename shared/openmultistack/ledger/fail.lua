-- No region is left for an instance: it ends up in ERROR, and stays until destroyed or expired.
-- KEYS  record (hash), events (list), orders (hash)
-- ARGV  1 attempt, 2 region, 3 error
-- Returns  the instance's status after that
-- Safe to repeat; does nothing to an instance that is wanted no more or has another attempt.
local it = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'region')
if it[2] ~= ARGV[1] or it[3] ~= ARGV[2] or (it[1] ~= 'BUILD' and it[1] ~= 'ACTIVE') then return it[1] or '' end
redis.call('HSET', KEYS[1], 'status', 'ERROR', 'error', ARGV[3])
orders = KEYS[3]
let_order_go(KEYS[1])
tell(KEYS[2], {at_ms = now_ms(), what = 'error', region = ARGV[2], attempt = tonumber(ARGV[1]), why = ARGV[3]})
return 'ERROR'
