-- A command is repeated under its key while its instances are being made: from now on they are kept,
-- whatever becomes of the caller who makes them.
-- KEYS  idempotency key (hash), then the record of each of its instances (hashes)
-- ARGV  none
-- Returns  1, or 0 if the key stands for nothing any more: the command was given up
-- Safe to repeat.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('HSET', KEYS[i], 'promised', 1) end
end
return 1
