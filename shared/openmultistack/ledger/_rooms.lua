-- Put before the scripts that place. What is free in a region is counted here and nowhere else, and
-- so is whether its breaker lets anything through.

-- Many candidates are of a few kinds, which are told once: give each what its kind has.
local function kinds_told(ask)
  for _, candidate in ipairs(ask.candidates) do
    local kind = ask.kinds[candidate.kind]
    candidate.need, candidate.fields = kind.need, kind.fields
  end
  return ask
end

local function number(value) return value and tonumber(value) or 0 end

-- How many more servers of this need {vcpus, ram_mb} fit now, and how many would fit in all.
local function room(region, slots, need, now)
  local it = redis.call('HMGET', region, 'state', 'cap_instances', 'foreign_instances',
    'cap_vcpus', 'foreign_vcpus', 'held_vcpus', 'cap_ram_mb', 'foreign_ram_mb', 'held_ram_mb',
    'full', 'drained', 'open_until_ms', 'paused_until_ms', 'failures', 'probe_until_ms',
    'max_building', 'building', 'starts_per_minute', 'starts_at_ms')
  if it[1] ~= 'up' or it[10] == '1' or it[11] or number(it[12]) > now or number(it[13]) > now then
    return 0, 1
  end
  local instances, vcpus, ram_mb = number(it[2]), number(it[4]), number(it[7])
  local fits = math.min(instances - number(it[3]) - redis.call('HLEN', slots),
    math.floor((vcpus - number(it[5]) - number(it[6])) / need.vcpus),
    math.floor((ram_mb - number(it[8]) - number(it[9])) / need.ram_mb))
  if it[16] then fits = math.min(fits, number(it[16]) - number(it[17])) end
  if it[18] then
    local rate = number(it[18])
    fits = math.min(fits, (starts_left(it[19], rate, burst_of(rate), now)))
  end
  -- The breaker is half open: one probe at a time.
  if number(it[14]) >= FAILURES_TO_OPEN then
    fits = math.min(fits, number(it[15]) > now and 0 or 1)
  end
  local all = math.min(instances, math.floor(vcpus / need.vcpus), math.floor(ram_mb / need.ram_mb))
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
