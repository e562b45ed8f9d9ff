-- Make a region's counters anew from its slots.
-- KEYS  region, slots (hashes), shares (string)
-- ARGV  none
-- Returns  1 if a counter was wrong, else 0
-- Safe to repeat.
shares = KEYS[3]
local sum = add(nil, {vcpus = 0, ram_mb = 0}, 0)
for _, text in ipairs(redis.call('HVALS', KEYS[2])) do
  local slot = read_slot(text)
  if slot then add(sum, slot, 1) end
end
local told = redis.call('HMGET', KEYS[1], 'held_vcpus', 'held_ram_mb', 'building')
if tonumber(told[1] or 0) == sum.vcpus and tonumber(told[2] or 0) == sum.ram_mb
  and tonumber(told[3] or 0) == sum.building then return 0 end
redis.call('HSET', KEYS[1], 'held_vcpus', sum.vcpus, 'held_ram_mb', sum.ram_mb,
  'building', sum.building)
show(KEYS[1], KEYS[2], now_ms())
return 1
