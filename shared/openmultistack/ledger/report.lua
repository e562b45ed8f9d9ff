-- A region refused or failed: what it said, and what that means for the next placement.
-- KEYS  regions (set of names), region (hash), shares (string)
-- ARGV  1 region, 2 error, 3 `down` (until a sweep proves it well), `full` (until the next sweep),
--       `stale` (its catalogue is read again by the next sweep), `doubt` (the breaker opens at the
--       third in a row), `paused` (by its own wish) or '', 4 ms of that pause
-- Returns  1
-- Not safe to repeat to the point: a failure may count twice.
local PAUSE_MS, PAUSE_MAX_MS = 5000, 300000
local now, region, means = now_ms(), KEYS[2], ARGV[3]
shares = KEYS[3]
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('HSET', region, 'last_error', ARGV[2], 'last_error_at_ms', now)
local it = redis.call('HMGET', region, 'failures', 'open_until_ms', 'pauses', 'paused_until_ms')
local open_until = tonumber(it[2] or 0) or 0

if means == 'down' then redis.call('HSET', region, 'state', 'down') end
if means == 'full' then redis.call('HSET', region, 'full', '1') end
if means == 'down' or means == 'full' or means == 'paused' then hide(region) end
if means == 'stale' then redis.call('HDEL', region, 'catalogue_at_ms') end
-- It answered, and certainly: whatever failed before was not in a row with this.
if means == 'full' or means == 'stale' then close_breaker(region) end
if means == 'paused' then
  -- It takes part again, or nobody would have asked it.
  local state = redis.call('HGET', region, 'state')
  if state == 'removed' or state == 'retired' then redis.call('HDEL', region, 'state') end
  -- Apart from the breaker: a late answer to another create does not end it.
  redis.call('HSET', region, 'paused_until_ms', math.max(tonumber(it[4] or 0) or 0, now + ARGV[4]))
end
if means == 'doubt' then
  local failures = (tonumber(it[1] or 0) or 0) + 1
  redis.call('HSET', region, 'failures', failures)
  -- Failures that were under way when it opened do not lengthen the pause.
  if failures >= FAILURES_TO_OPEN and open_until <= now then
    local pauses = tonumber(it[3] or 0) or 0
    redis.call('HSET', region, 'pauses', pauses + 1,
      'open_until_ms', now + math.min(PAUSE_MS * 2 ^ math.min(pauses, 10), PAUSE_MAX_MS))
    redis.call('HDEL', region, 'probe_until_ms')
    hide(region)
  end
end
return 1
