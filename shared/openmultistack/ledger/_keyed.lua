-- Put before the scripts that remember idempotency keys, or give them back. How much memory a key
-- takes goes by its instances: it counts once for every ten of them, begun ones too.

local TEN = 10

-- What stands in an owner's `keyed` (zset) for the tens that an instance, by its place, is of.
local function counted_by(digest, index)
  local n = math.ceil(index / TEN)
  return n == 1 and digest or digest .. '/' .. n
end

-- The same for a key of a command of so many instances.
local function counted_as(digest, instances)
  local members = {}
  for n = 1, math.ceil(instances / TEN) do members[n] = counted_by(digest, n * TEN) end
  return members
end
