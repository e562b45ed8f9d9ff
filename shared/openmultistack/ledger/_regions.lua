-- Put before every script: the slots of a region. What is free in a region is counted here and
-- nowhere else, and so is whether its breaker lets anything through.
local FAILURES_TO_OPEN = 3
-- Of a region's starts a minute, this share may come at once: ten seconds' worth.
local BURST = 1 / 6

local function burst_of(per_minute)
  return math.max(1, math.floor(per_minute * BURST))
end

-- How many more servers of this need {vcpus, ram_mb} fit now, and how many would fit in all.
local function room(region, slots, need, now)
  local it = redis.call('HMGET', region, 'state', 'full', 'cap_instances', 'foreign_instances',
    'cap_vcpus', 'foreign_vcpus', 'held_vcpus', 'cap_ram_mb', 'foreign_ram_mb', 'held_ram_mb',
    'drained', 'open_until_ms', 'failures', 'probe_until_ms', 'max_building', 'building',
    'starts_per_minute', 'starts_at_ms', 'paused_until_ms')
  local function number(i) return tonumber(it[i] or 0) or 0 end
  if it[1] ~= 'up' or it[2] == '1' or it[11] or math.max(number(12), number(19)) > now then
    return 0, 1
  end
  local free = number(3) - number(4) - redis.call('HLEN', slots)
  local vcpus = math.floor((number(5) - number(6) - number(7)) / need.vcpus)
  local ram = math.floor((number(8) - number(9) - number(10)) / need.ram_mb)
  local fits = math.min(free, vcpus, ram)
  if it[15] then fits = math.min(fits, number(15) - number(16)) end
  if it[17] then fits = math.min(fits, (starts_left(it[18], number(17), burst_of(number(17)), now))) end
  -- The breaker is half open: one probe at a time.
  if number(13) >= FAILURES_TO_OPEN then fits = math.min(fits, number(14) > now and 0 or 1) end
  local all = math.min(number(3), math.floor(number(5) / need.vcpus), math.floor(number(8) / need.ram_mb))
  return math.max(0, fits), math.max(1, all)
end

-- The candidate to take next, or nil: `freest` and `fullest` by live share, `first` by rank.
local function choose(pick, left, all)
  local best, best_share
  for i = 1, #left do
    if left[i] > 0 then
      local share = left[i] / all[i]
      if pick == 'first' then return i end
      if not best or (pick == 'fullest' and share < best_share)
        or (pick == 'freest' and share > best_share) then
        best, best_share = i, share
      end
    end
  end
  return best
end

local function close_breaker(region)
  redis.call('HDEL', region, 'failures', 'open_until_ms', 'probe_until_ms', 'pauses')
end

local function count(region, usage, value, sign)
  redis.call('HINCRBY', region, 'held_vcpus', sign * value.vcpus)
  redis.call('HINCRBY', region, 'held_ram_mb', sign * value.ram_mb)
  if value.building then redis.call('HINCRBY', region, 'building', sign) end
  redis.call('HINCRBY', usage, 'vcpus', sign * value.vcpus)
  redis.call('HINCRBY', usage, 'ram_mb', sign * value.ram_mb)
  return redis.call('HINCRBY', usage, 'instances', sign)
end

local function take(region, slots, usage, slot, value)
  if redis.call('HSETNX', slots, slot, cjson.encode(value)) == 1 then
    count(region, usage, value, 1)
    redis.call('PERSIST', usage)
  end
end

-- Take a slot for a server that is about to be started.
local function start(region, slots, usage, slot, value, now)
  value.since_ms, value.building = now, true
  take(region, slots, usage, slot, value)
  local it = redis.call('HMGET', region, 'failures', 'starts_per_minute', 'starts_at_ms')
  if (tonumber(it[1] or 0) or 0) >= FAILURES_TO_OPEN then
    redis.call('HSET', region, 'probe_until_ms', value.lease_until_ms)
  end
  if it[2] then
    local rate = tonumber(it[2])
    local _, paid = starts_left(it[3], rate, burst_of(rate), now)
    redis.call('HSET', region, 'starts_at_ms', paid)
  end
end

-- The counters go first: a server out of memory refuses them, but would not refuse the HDEL.
local function drop(region, slots, usage, slot)
  local value = redis.call('HGET', slots, slot)
  if not value then return 0 end
  -- An owner who holds nothing is remembered a little: for the rate of their creates.
  if count(region, usage, cjson.decode(value), -1) <= 0 then redis.call('PEXPIRE', usage, 600000) end
  redis.call('HDEL', slots, slot)
  return 1
end

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

-- Which candidate each of the wanted instances goes to, by live share, as far as there is room and
-- the owner's quota; the slots there were; and what is short: `full` or `quota`.
local function choose_all(ask, wanted, left_to_owner, now)
  local left, all, free, picks = {}, {}, 0, {}
  for i, candidate in ipairs(ask.candidates) do
    left[i], all[i] = room(KEYS[2 * i - 1], KEYS[2 * i], candidate.need, now)
    free = free + left[i]
  end
  for i = 1, wanted do
    local chosen = choose(ask.pick, left, all)
    if not chosen then return picks, free, 'full' end
    if not afford(left_to_owner, ask.candidates[chosen].need) then return picks, free, 'quota' end
    left[chosen] = left[chosen] - 1
    picks[i] = chosen
  end
  return picks, free, 'full'
end
