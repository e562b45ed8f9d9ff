-- Put before every script: Redis' clock, and the story of an instance.
local EVENTS_KEPT = 50

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function tell(events, event)
  redis.call('RPUSH', events, cjson.encode(event))
  redis.call('LTRIM', events, -EVENTS_KEPT, -1)
end

local function set_all(hash, fields)
  for field, value in pairs(fields) do redis.call('HSET', hash, field, value) end
end

-- A rate as GCRA keeps it: `at_ms` is when the last of the starts so far is paid for. Returns how
-- many more may start now, if so many at once (`burst`) are let through after a quiet time, and the
-- at_ms of one more.
local function starts_left(at_ms, per_minute, burst, now)
  local step = 60000 / per_minute
  local since = math.max(tonumber(at_ms or 0) or 0, now - burst * step)
  return math.floor((now - since) / step + 1e-6), since + step
end
