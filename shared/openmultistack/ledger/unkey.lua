-- A command is given up: its key may be used anew, if it still stands for that command and nobody
-- else was told of its instances.
-- KEYS  keyed (zset: the owner's keys), idempotency key (hash), then the record of each of its
--       instances (hashes)
-- ARGV  1 digest of the key, 2 id of the command's first instance, 3 `even` if they were promised
-- Returns  1 if the key was dropped, else 0
-- Safe to repeat.
if redis.call('HGET', KEYS[2], '1') ~= ARGV[2] then return 0 end
for i = 3, #KEYS do
  if ARGV[3] ~= 'even' and redis.call('HEXISTS', KEYS[i], 'promised') == 1 then return 0 end
end
redis.call('ZREM', KEYS[1], unpack(counted_as(ARGV[1], #KEYS - 2)))
return redis.call('DEL', KEYS[2])
