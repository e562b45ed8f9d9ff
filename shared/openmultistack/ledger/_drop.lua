-- Put before the scripts that free slots.

-- Free slots, usages[i] being the key of what the owner of the i-th holds; returns of each 1, or 0
-- if it is not there. The counters go first: a server out of memory refuses them, but would not
-- refuse the HDEL.
local function drop(region, slots, names, usages)
  local values, freed, seen = redis.call('HMGET', slots, unpack(names)), {}, {}
  local all, by_usage = nil, {}
  for i, name in ipairs(names) do
    freed[i] = values[i] and not seen[name] and 1 or 0
    if freed[i] == 1 then
      local value, usage = read_slot(values[i]) or {}, usages[i]
      seen[name], all, by_usage[usage] = true, add(all, value, -1), add(by_usage[usage], value, -1)
    end
  end
  if not all then return freed end
  count_region(region, all)
  for usage, sum in pairs(by_usage) do
    count_owner(usage, sum)
    let_go(usage)
  end
  redis.call('HDEL', slots, unpack(names))
  show(region, slots, now_ms())
  return freed
end
