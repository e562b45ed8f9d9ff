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

local counted = {AMOUNTS}

-- What was read of each region that lets something in: `start` goes on from there.
local seen = {}

-- So many fields are read of a region before its COUNTS.
local BEFORE = 7

-- How many more servers of this need fit now, and how many would fit in all (if any does now). What
-- the need is nothing of, or the region has no cap of, does not bind.
local function room(region, slots, need, now)
  local it = redis.call('HMGET', region, 'failures', 'max_building', 'starts_per_minute', 'state',
    'full', 'drained', 'paused_until_ms', COUNTS)
  local failures, max_building, per_minute, state, full, drained, paused_until = unpack(it, 1, BEFORE)
  if state ~= 'up' or full == '1' or drained or not it[BEFORE + 1]
    or (paused_until and tonumber(paused_until) > now) then return 0, 1 end
  it.held = redis.call('HLEN', slots)
  seen[region] = it
  local all, at = it[BEFORE + 1] + 0, BEFORE + 2
  local fits = all - (it[at] or 0) - it.held
  if not (fits >= 1) then return 0, 1 end -- nor if it is no number
  for i = 1, #counted do
    local one, cap = need[counted[i]], it[at + 1]
    if cap and one > 0 then
      cap = cap + 0
      local left = (cap - (it[at + 2] or 0) - (it[at + 3] or 0)) / one
      if not (left >= 1) then return 0, 1 end
      if left < fits then fits = left end
      if cap < all * one then all = cap / one end
    end
    at = at + 3
  end
  fits = floor(fits)
  if failures or max_building or per_minute then
    fits = min(fits, let_through(region, failures, max_building, per_minute, now))
  end
  return max(0, fits), max(1, floor(all))
end
