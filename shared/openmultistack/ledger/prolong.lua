-- An instance's server tells of a later expiry than the ledger ever knew, as it is an old copy: that
-- counts.
-- KEYS  record (hash), events (list), due (zset)
-- ARGV  1 id, 2 attempt, 3 region, 4 expiry in epoch ms
-- Returns  1, or 0 if the instance is not (any more) to be there as this attempt, or was renewed
-- Safe to repeat.
local it = read_record(KEYS[1])
local at_ms = tonumber(ARGV[4])
if it.attempt ~= ARGV[2] or it.region ~= ARGV[3] then return 0 end
if it.status ~= 'BUILD' and it.status ~= 'ACTIVE' then return 0 end
if at_ms <= tonumber(it.expires_at_ms) or was_due(it, at_ms) then return 0 end
redis.call('HSET', KEYS[1], 'expires_at_ms', ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
tell(KEYS[2], {at_ms = now_ms(), what = 'renewed', region = ARGV[3], attempt = tonumber(ARGV[2]),
  why = 'its server tells of a later expiry than the ledger knew'})
return 1
