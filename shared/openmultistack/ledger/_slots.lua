-- Put before the scripts that take slots of a region, or free them: the counts change with them.

-- Redis adds whole numbers only: what a part of one was put into, it would never add to again.
local function is_count(value)
  local number = tonumber(value)
  return number and number >= 0 and number < 2 ^ 53 and number % 1 == 0
end

-- A slot, or nil if nobody can read it: it is counted among the slots, and holds nothing else.
local function read_slot(text)
  local good, slot = pcall(cjson.decode, text)
  if not good or type(slot) ~= 'table' or type(slot.owner) ~= 'string' then return nil end
  return is_count(slot.vcpus) and is_count(slot.ram_mb) and slot or nil
end

local function count_owner(usage, sum)
  redis.call('HINCRBY', usage, 'vcpus', sum.vcpus)
  redis.call('HINCRBY', usage, 'ram_mb', sum.ram_mb)
  rank(usage, redis.call('HINCRBY', usage, 'instances', sum.instances))
end

-- Count what slots take, or (below zero) give back, in their region.
local function count_region(region, sum)
  redis.call('HINCRBY', region, 'held_vcpus', sum.vcpus)
  redis.call('HINCRBY', region, 'held_ram_mb', sum.ram_mb)
  if sum.building ~= 0 then redis.call('HINCRBY', region, 'building', sum.building) end
end

-- Add so many slots like this one to a sum of what slots take.
local function add(sum, value, times)
  sum = sum or {instances = 0, vcpus = 0, ram_mb = 0, building = 0}
  sum.instances = sum.instances + times
  sum.vcpus, sum.ram_mb = sum.vcpus + times * value.vcpus, sum.ram_mb + times * value.ram_mb
  sum.building = sum.building + (value.building and times or 0)
  return sum
end

-- Take slots of these names, all with the same JSON; returns how many were not taken before.
local function take(slots, names, text)
  local taken = 0
  for _, name in ipairs(names) do taken = taken + redis.call('HSETNX', slots, name, text) end
  return taken
end

-- Count for an owner what the slots taken add up to.
local function owned(usage, sum)
  if sum.instances == 0 then return end
  count_owner(usage, sum)
  redis.call('PERSIST', usage)
end
