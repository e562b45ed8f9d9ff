-- Put before the scripts that remember idempotency keys, or give them back. How much memory a key
-- takes goes by its instances: it counts once for every ten of them, begun ones too.

local TEN = 10

-- What stands in an owner's `keyed` (zset) for a key of a command of so many instances.
local function counted_as(digest, instances)
  local members = {digest}
  for n = 2, math.ceil(instances / TEN) do members[n] = digest .. '/' .. n end
  return members
end
