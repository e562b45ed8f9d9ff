-- Put before the scripts that place: what an owner may have.

-- What an owner may still have: quota - usage of each resource that is bounded.
local function spare(usage, quota)
  local left = {}
  for _, what in ipairs({RESOURCES}) do
    if quota[what] then left[what] = quota[what] - (tonumber(redis.call('HGET', usage, what)) or 0) end
  end
  return left
end

-- Take one more instance of a need off what is spare; false (and nothing changes) if it is too much.
local function afford(left, need)
  for what, bound in pairs(left) do
    if need[what] > 0 and bound < need[what] then return false end
  end
  for what, bound in pairs(left) do left[what] = bound - need[what] end
  return true
end
