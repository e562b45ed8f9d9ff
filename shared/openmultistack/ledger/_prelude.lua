-- Put before every script: Redis' clock, and the story of an instance.
local EVENTS_KEPT = 50

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The texts of a record's JSON object; what nobody can read of it is left out.
local function read_texts(json)
  local good, all = pcall(cjson.decode, json or '{}')
  local texts = {}
  for name, it in pairs(good and type(all) == 'table' and all or {}) do
    if type(name) == 'string' and type(it) == 'string' then texts[name] = it end
  end
  return texts
end

local function tell_text(events, text)
  if redis.call('RPUSH', events, text) > EVENTS_KEPT then
    redis.call('LTRIM', events, -EVENTS_KEPT, -1)
  end
end

local function tell(events, event) tell_text(events, cjson.encode(event)) end
