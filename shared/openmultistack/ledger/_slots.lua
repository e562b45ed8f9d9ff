-- Put before the scripts that take slots of a region, or free them: the counts change with them.

-- Count what slots take, or (below zero) give back: in their region, and for an owner. The latter
-- returns how many instances the owner holds then.
local function count_region(region, sum)
  redis.call('HINCRBY', region, 'held_vcpus', sum.vcpus)
  redis.call('HINCRBY', region, 'held_ram_mb', sum.ram_mb)
  if sum.building ~= 0 then redis.call('HINCRBY', region, 'building', sum.building) end
end

local function count_owner(usage, sum)
  redis.call('HINCRBY', usage, 'vcpus', sum.vcpus)
  redis.call('HINCRBY', usage, 'ram_mb', sum.ram_mb)
  return redis.call('HINCRBY', usage, 'instances', sum.instances)
end

-- Add so many slots like this one to a sum of what slots take.
local function add(sum, value, times)
  sum = sum or {instances = 0, vcpus = 0, ram_mb = 0, building = 0}
  sum.instances = sum.instances + times
  sum.vcpus, sum.ram_mb = sum.vcpus + times * value.vcpus, sum.ram_mb + times * value.ram_mb
  sum.building = sum.building + (value.building and times or 0)
  return sum
end

-- Take slots of these names, all with the same value; returns the sum of what their owner holds
-- thereby, with that of before, to be `owned`.
local function take(region, slots, names, value, sum)
  local taken, text = 0, cjson.encode(value)
  for _, name in ipairs(names) do taken = taken + redis.call('HSETNX', slots, name, text) end
  if taken > 0 then count_region(region, add(nil, value, taken)) end
  return add(sum, value, taken)
end

local function owned(usage, sum)
  if sum.instances == 0 then return end
  count_owner(usage, sum)
  redis.call('PERSIST', usage)
end

-- Take slots for servers that are about to be started; as `take`.
local function start(region, slots, names, value, now, sum)
  value.since_ms, value.building = now, true
  sum = take(region, slots, names, value, sum)
  local it = redis.call('HMGET', region, 'failures', 'starts_per_minute', 'starts_at_ms')
  if (tonumber(it[1] or 0) or 0) >= FAILURES_TO_OPEN then
    redis.call('HSET', region, 'probe_until_ms', value.lease_until_ms)
  end
  if it[2] then
    local rate, paid = tonumber(it[2]), it[3]
    for _ = 1, #names do paid = select(2, starts_left(paid, rate, burst_of(rate), now)) end
    redis.call('HSET', region, 'starts_at_ms', paid)
  end
  return sum
end

-- Free slots, usages[i] being the key of what the owner of the i-th holds; returns of each 1, or 0
-- if it is not there. The counters go first: a server out of memory refuses them, but would not
-- refuse the HDEL.
local function drop(region, slots, names, usages)
  local values, freed, seen = redis.call('HMGET', slots, unpack(names)), {}, {}
  local all, by_usage = nil, {}
  for i, name in ipairs(names) do
    freed[i] = values[i] and not seen[name] and 1 or 0
    if freed[i] == 1 then
      local value, usage = cjson.decode(values[i]), usages[i]
      seen[name], all, by_usage[usage] = true, add(all, value, -1), add(by_usage[usage], value, -1)
    end
  end
  if not all then return freed end
  count_region(region, all)
  for usage, sum in pairs(by_usage) do
    -- An owner who holds nothing is remembered a little: for the rate of their creates.
    if count_owner(usage, sum) <= 0 then redis.call('PEXPIRE', usage, 600000) end
  end
  redis.call('HDEL', slots, unpack(names))
  return freed
end
