-- Put before every script: Redis' clock, the story of an instance, the slots of a region.
-- What is free in a region is counted here and nowhere else.
local EVENTS_KEPT = 50

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function tell(events, event)
  redis.call('RPUSH', events, cjson.encode(event))
  redis.call('LTRIM', events, -EVENTS_KEPT, -1)
end

-- How many more servers of this need {vcpus, ram_mb} fit now, and how many would fit in all.
local function room(region, slots, need)
  local it = redis.call('HMGET', region, 'state', 'full', 'cap_instances', 'foreign_instances',
    'cap_vcpus', 'foreign_vcpus', 'held_vcpus', 'cap_ram_mb', 'foreign_ram_mb', 'held_ram_mb')
  if it[1] ~= 'up' or it[2] == '1' then return 0, 1 end
  local function number(i) return tonumber(it[i] or 0) or 0 end
  local free = number(3) - number(4) - redis.call('HLEN', slots)
  local vcpus = math.floor((number(5) - number(6) - number(7)) / need.vcpus)
  local ram = math.floor((number(8) - number(9) - number(10)) / need.ram_mb)
  local all = math.min(number(3), math.floor(number(5) / need.vcpus), math.floor(number(8) / need.ram_mb))
  return math.max(0, math.min(free, vcpus, ram)), math.max(1, all)
end

-- The candidate to take next, or nil: `freest` and `fullest` by live share, `first` by rank.
local function choose(pick, left, all)
  local best, best_share
  for i = 1, #left do
    if left[i] > 0 then
      local share = left[i] / all[i]
      if pick == 'first' then return i end
      if not best or (pick == 'fullest' and share < best_share)
        or (pick == 'freest' and share > best_share) then
        best, best_share = i, share
      end
    end
  end
  return best
end

local function take(region, slots, slot, value)
  if redis.call('HSETNX', slots, slot, cjson.encode(value)) == 1 then
    redis.call('HINCRBY', region, 'held_vcpus', value.vcpus)
    redis.call('HINCRBY', region, 'held_ram_mb', value.ram_mb)
  end
end

-- The counters go first: a server out of memory refuses them, but would not refuse the HDEL.
local function drop(region, slots, slot)
  local value = redis.call('HGET', slots, slot)
  if not value then return 0 end
  local was = cjson.decode(value)
  redis.call('HINCRBY', region, 'held_vcpus', -was.vcpus)
  redis.call('HINCRBY', region, 'held_ram_mb', -was.ram_mb)
  redis.call('HDEL', slots, slot)
  return 1
end
