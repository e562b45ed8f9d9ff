-- Put before the scripts that keep to rates.

-- A rate as GCRA keeps it: `at_ms` is when the last of the starts so far is paid for. Returns how
-- many more may start now, if so many at once (`burst`) are let through after a quiet time, and the
-- at_ms of one more. What is let through was paid for before now: a later at_ms is of a clock that
-- went back since, and counts as now.
local function starts_left(at_ms, per_minute, burst, now)
  local step = 60000 / per_minute
  local since = math.min(math.max(tonumber(at_ms or 0) or 0, now - burst * step), now)
  return math.floor((now - since) / step + 1e-6), since + step
end

-- Of a region's starts a minute, this share may come at once: ten seconds' worth.
local BURST = 1 / 6

local function burst_of(per_minute)
  return math.max(1, math.floor(per_minute * BURST))
end
