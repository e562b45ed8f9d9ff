-- Make a region's counters anew from its slots.
-- KEYS  region, slots (hashes), shares (string)
-- ARGV  none
-- Returns  1 if a counter was wrong, else 0
-- Safe to repeat.
shares = KEYS[3]
local sum = nothing()
for _, text in ipairs(redis.call('HVALS', KEYS[2])) do
  local slot = read_slot(text)
  if slot then add(sum, slot, 1) end
end
local right, fields = {building = sum.building}, {}
for _, what in ipairs(amounts) do right['held_' .. what] = sum[what] end
for field, count in pairs(right) do
  if tonumber(redis.call('HGET', KEYS[1], field) or 0) ~= count then push(fields, field, count) end
end
if #fields == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(fields))
show(KEYS[1], KEYS[2], now_ms())
return 1
