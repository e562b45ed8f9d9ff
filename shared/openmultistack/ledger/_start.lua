-- Put before the scripts that take slots for servers which are about to be started.

-- A slot of an owner for a need, until it is proven; with its JSON.
local function new_slot(owner, need, now, lease_until_ms)
  local slot = {owner = owner, since_ms = now, lease_until_ms = lease_until_ms, building = true}
  slot.text = write_slot(slot, need)
  return slot
end

-- Take slots of these names in a region whose `room` was just counted, and count them there at once
-- with the starts; returns the sum of what their owner holds thereby, with that of before, to be
-- `owned`.
local function start(region, slots, names, slot, sum)
  local taken, it = take(slots, names, slot.text), seen[region]
  local number, building, paid =
    unpack(redis.call('HMGET', region, 'number', 'building', 'starts_at_ms'))
  building = (building or 0) + taken
  local fields = {'building', building}
  it.held = it.held + taken
  for i = 1, #amounts do
    local amount, at = slot[amounts[i]], BEFORE + 2 + 3 * i
    if amount and amount > 0 then
      it[at] = (it[at] or 0) + taken * amount
      push(fields, 'held_' .. amounts[i], it[at])
    end
  end
  local failures, max_building, per_minute = unpack(it, 1, 3)
  if tonumber(failures or 0) >= FAILURES_TO_OPEN then
    push(fields, 'probe_until_ms', slot.lease_until_ms)
  end
  if per_minute then
    local rate = tonumber(per_minute)
    for _ = 1, #names do paid = select(2, starts_left(paid, rate, burst_of(rate), slot.since_ms)) end
    push(fields, 'starts_at_ms', paid)
  end
  redis.call('HSET', region, unpack(fields))
  local builds_on = not max_building or building < tonumber(max_building)
  write_share(number, builds_on and free_share(it, BEFORE, it.held) or 0)
  return add(sum, slot, taken)
end
