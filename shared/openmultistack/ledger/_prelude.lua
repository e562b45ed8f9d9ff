-- Put before every script: Redis' clock, and the story of an instance.
local EVENTS_KEPT = 50

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What a JSON text of a record says; nothing, if nobody can read it.
local function read_table(text)
  local good, value = pcall(cjson.decode, text or '{}')
  return good and type(value) == 'table' and value or {}
end

local function tell_text(events, text)
  if redis.call('RPUSH', events, text) > EVENTS_KEPT then
    redis.call('LTRIM', events, -EVENTS_KEPT, -1)
  end
end

local function tell(events, event) tell_text(events, cjson.encode(event)) end
