-- Put before the scripts that take slots of a region, or free them: the counts change with them.

-- Redis adds whole numbers only: what a part of one was put into, it would never add to again.
local function is_count(value)
  local number = tonumber(value)
  return number and number >= 0 and number < 2 ^ 53 and number % 1 == 0
end

local amounts = {AMOUNTS}

-- A slot, or nil if nobody can read it: it is counted among the slots, and holds nothing else. Of
-- what not every server takes it may say nothing: it takes none, or nobody counted that yet.
local function read_slot(text)
  local good, slot = pcall(cjson.decode, text)
  if not good or type(slot) ~= 'table' or type(slot.owner) ~= 'string' then return nil end
  for i = 1, #amounts do
    local amount = slot[amounts[i]]
    if not (amount == nil and i >= IN_ALL or is_count(amount)) then return nil end
  end
  return slot
end

-- Have a slot say what it takes for a need; returns its JSON.
local function write_slot(slot, need)
  for i = 1, #amounts do
    local amount = need[amounts[i]]
    if i < IN_ALL or amount > 0 then slot[amounts[i]] = amount end
  end
  return cjson.encode(slot)
end

local function count_owner(usage, sum)
  for _, what in ipairs(amounts) do
    if sum[what] ~= 0 then redis.call('HINCRBY', usage, what, sum[what]) end
  end
  rank(usage, redis.call('HINCRBY', usage, 'instances', sum.instances))
end

-- Count what slots take, or (below zero) give back, in their region.
local function count_region(region, sum)
  for _, what in ipairs(amounts) do
    if sum[what] ~= 0 then redis.call('HINCRBY', region, 'held_' .. what, sum[what]) end
  end
  if sum.building ~= 0 then redis.call('HINCRBY', region, 'building', sum.building) end
end

-- What no slots take.
local function nothing()
  local sum = {instances = 0, building = 0}
  for _, what in ipairs(amounts) do sum[what] = 0 end
  return sum
end

-- Add so many slots like this one to a sum of what slots take.
local function add(sum, slot, times)
  sum = sum or nothing()
  sum.instances = sum.instances + times
  for i = 1, #amounts do
    local what = amounts[i]
    if slot[what] then sum[what] = sum[what] + times * slot[what] end
  end
  sum.building = sum.building + (slot.building and times or 0)
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
