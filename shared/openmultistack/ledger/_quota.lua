-- Put before the scripts that place: what an owner may have.

-- What an owner may still have: quota - usage of each resource that is bounded.
local function spare(usage, quota)
  local left = {}
  for _, what in ipairs({'instances', 'vcpus', 'ram_mb'}) do
    if quota[what] then left[what] = quota[what] - (tonumber(redis.call('HGET', usage, what)) or 0) end
  end
  return left
end

-- Take one more instance of a need off what is spare; false (and nothing changes) if it is too much.
local function afford(left, need)
  local one = {instances = 1, vcpus = need.vcpus, ram_mb = need.ram_mb}
  for what, bound in pairs(left) do
    if bound < one[what] then return false end
  end
  for what, bound in pairs(left) do left[what] = bound - one[what] end
  return true
end
