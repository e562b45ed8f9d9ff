-- Put before the scripts that take slots for servers which are about to be started.

-- A slot of an owner for a need {vcpus, ram_mb}, until it is proven; with its JSON.
local function new_slot(owner, need, now, lease_until_ms)
  local slot = {owner = owner, vcpus = need.vcpus, ram_mb = need.ram_mb, since_ms = now,
    lease_until_ms = lease_until_ms, building = true}
  slot.text = cjson.encode(slot)
  return slot
end

-- Take slots of these names in a region whose `room` was just counted, and count them there at once
-- with the starts; returns the sum of what their owner holds thereby, with that of before, to be
-- `owned`.
local function start(region, slots, names, slot, sum)
  local taken, it = take(slots, names, slot.text), seen[region]
  local more = redis.call('HMGET', region, 'number', 'building', 'starts_at_ms')
  local vcpus, ram_mb = (it[6] or 0) + taken * slot.vcpus, (it[9] or 0) + taken * slot.ram_mb
  local building = (more[2] or 0) + taken
  local fields = {'held_vcpus', vcpus, 'held_ram_mb', ram_mb, 'building', building}
  if tonumber(it[13] or 0) >= FAILURES_TO_OPEN then push(fields, 'probe_until_ms', slot.lease_until_ms) end
  if it[15] then
    local rate, paid = tonumber(it[15]), more[3]
    for _ = 1, #names do paid = select(2, starts_left(paid, rate, burst_of(rate), slot.since_ms)) end
    push(fields, 'starts_at_ms', paid)
  end
  redis.call('HSET', region, unpack(fields))
  local builds_on = not it[14] or building < tonumber(it[14])
  write_share(more[1], builds_on and min(free_share(it[2], it[3], it.held + taken),
    free_share(it[4], it[5], vcpus), free_share(it[7], it[8], ram_mb)) or 0)
  return add(sum, slot, taken)
end
