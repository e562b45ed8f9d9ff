-- Put before the scripts that take slots for servers which are about to be started.

-- A slot of an owner for a need {vcpus, ram_mb}, until it is proven; with its JSON.
local function new_slot(owner, need, now, lease_until_ms)
  local slot = {owner = owner, vcpus = need.vcpus, ram_mb = need.ram_mb, since_ms = now,
    lease_until_ms = lease_until_ms, building = true}
  slot.text = cjson.encode(slot)
  return slot
end

-- Take slots of these names in a region, and count them there at once with the starts; returns the
-- sum of what their owner holds thereby, with that of before, to be `owned`.
local function start(region, slots, names, slot, sum)
  local taken = take(slots, names, slot.text)
  local it = redis.call('HMGET', region, 'held_vcpus', 'held_ram_mb', 'building', 'failures',
    'starts_per_minute', 'starts_at_ms')
  local fields = {'held_vcpus', (it[1] or 0) + taken * slot.vcpus,
    'held_ram_mb', (it[2] or 0) + taken * slot.ram_mb, 'building', (it[3] or 0) + taken}
  if tonumber(it[4] or 0) >= FAILURES_TO_OPEN then push(fields, 'probe_until_ms', slot.lease_until_ms) end
  if it[5] then
    local rate, paid = tonumber(it[5]), it[6]
    for _ = 1, #names do paid = select(2, starts_left(paid, rate, burst_of(rate), slot.since_ms)) end
    push(fields, 'starts_at_ms', paid)
  end
  redis.call('HSET', region, unpack(fields))
  show(region, slots, slot.since_ms)
  return add(sum, slot, taken)
end
