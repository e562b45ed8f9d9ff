-- Put before the scripts that see to a region's breaker.

-- So many failures in a row open it.
local FAILURES_TO_OPEN = 3

-- All that it knows is there only while there are failures. Returns whether there were any.
local function close_breaker(region)
  if redis.call('HEXISTS', region, 'failures') == 0 then return false end
  redis.call('HDEL', region, 'failures', 'open_until_ms', 'probe_until_ms', 'pauses')
  return true
end
