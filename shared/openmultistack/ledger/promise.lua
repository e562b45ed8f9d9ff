-- A command is repeated under its key while its instances are being made: from now on they are kept,
-- whatever becomes of the caller who makes them.
-- KEYS  idempotency key (hash), then the record of each of its instances (hashes)
-- ARGV  the ids of these instances
-- Returns  1, or 0 if the key does not stand for all of them any more: they were given up
-- Safe to repeat.
local stands_for = {}
for _, id in ipairs(redis.call('HVALS', KEYS[1])) do stands_for[id] = true end
for _, id in ipairs(ARGV) do
  if not stands_for[id] then return 0 end
end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('HSET', KEYS[i], 'promised', 1) end
end
return 1
