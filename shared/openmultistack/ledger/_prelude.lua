-- Put before every script: Redis' clock, and the story of an instance.
local EVENTS_KEPT = 50

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function tell_text(events, text)
  if redis.call('RPUSH', events, text) > EVENTS_KEPT then
    redis.call('LTRIM', events, -EVENTS_KEPT, -1)
  end
end

local function tell(events, event) tell_text(events, cjson.encode(event)) end

-- Two more arguments for a command that takes any number of pairs.
local function push(flat, first, second)
  flat[#flat + 1], flat[#flat + 2] = first, second
end

local function push_all(flat, fields)
  for field, value in pairs(fields) do push(flat, field, value) end
  return flat
end

local function set_all(hash, fields) redis.call('HSET', hash, unpack(push_all({}, fields))) end

-- A rate as GCRA keeps it: `at_ms` is when the last of the starts so far is paid for. Returns how
-- many more may start now, if so many at once (`burst`) are let through after a quiet time, and the
-- at_ms of one more.
local function starts_left(at_ms, per_minute, burst, now)
  local step = 60000 / per_minute
  local since = math.max(tonumber(at_ms or 0) or 0, now - burst * step)
  return math.floor((now - since) / step + 1e-6), since + step
end

-- So many failures in a row open a region's breaker.
local FAILURES_TO_OPEN = 3

local function close_breaker(region)
  redis.call('HDEL', region, 'failures', 'open_until_ms', 'probe_until_ms', 'pauses')
end

-- Of a region's starts a minute, this share may come at once: ten seconds' worth.
local BURST = 1 / 6

local function burst_of(per_minute)
  return math.max(1, math.floor(per_minute * BURST))
end
