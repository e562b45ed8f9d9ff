-- Put before the scripts that place. What is free in a region is counted here and nowhere else, and
-- so is whether its breaker lets anything through.

local floor, min, max = math.floor, math.min, math.max

-- How many starts a region's breaker, its bound on those that build and its rate let through now.
local function let_through(region, failures, max_building, per_minute, now)
  local it = redis.call('HMGET', region, 'open_until_ms', 'probe_until_ms', 'building', 'starts_at_ms')
  if it[1] and tonumber(it[1]) > now then return 0 end
  local most = max_building and max_building - (it[3] or 0) or math.huge
  if per_minute then
    local rate = tonumber(per_minute)
    most = min(most, (starts_left(it[4], rate, burst_of(rate), now)))
  end
  -- The breaker is half open: one probe at a time.
  if failures and tonumber(failures) >= FAILURES_TO_OPEN then
    most = min(most, it[2] and tonumber(it[2]) > now and 0 or 1)
  end
  return most
end

-- What was read of each region that lets something in: `start` goes on from there.
local seen = {}

-- How many more servers of this need {vcpus, ram_mb} fit now, and how many would fit in all.
local function room(region, slots, need, now)
  local it = redis.call('HMGET', region, 'state', 'cap_instances', 'foreign_instances',
    'cap_vcpus', 'foreign_vcpus', 'held_vcpus', 'cap_ram_mb', 'foreign_ram_mb', 'held_ram_mb',
    'full', 'drained', 'paused_until_ms', 'failures', 'max_building', 'starts_per_minute')
  if it[1] ~= 'up' or it[10] == '1' or it[11] or (it[12] and tonumber(it[12]) > now) then
    return 0, 1
  end
  local instances, vcpus, ram_mb = (it[2] or 0) + 0, (it[4] or 0) + 0, (it[7] or 0) + 0
  it.held = redis.call('HLEN', slots)
  seen[region] = it
  local fits = min(instances - (it[3] or 0) - it.held,
    floor((vcpus - (it[5] or 0) - (it[6] or 0)) / need.vcpus),
    floor((ram_mb - (it[8] or 0) - (it[9] or 0)) / need.ram_mb))
  if fits > 0 and (it[13] or it[14] or it[15]) then
    fits = min(fits, let_through(region, it[13], it[14], it[15], now))
  end
  local all = min(instances, floor(vcpus / need.vcpus), floor(ram_mb / need.ram_mb))
  return max(0, fits), max(1, all)
end
