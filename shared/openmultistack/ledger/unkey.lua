-- A command is given up: its key may be used anew, if it still stands for that command and nobody
-- else was told of its instances.
-- KEYS  idempotency key (hash), then the record of each of its instances (hashes)
-- ARGV  1 id of the command's first instance, 2 `even` if they were promised
-- Returns  1 if the key was dropped, else 0
-- Safe to repeat.
if redis.call('HGET', KEYS[1], '1') ~= ARGV[1] then return 0 end
for i = 2, #KEYS do
  if ARGV[2] ~= 'even' and redis.call('HEXISTS', KEYS[i], 'promised') == 1 then return 0 end
end
return redis.call('DEL', KEYS[1])
