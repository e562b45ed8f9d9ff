-- A command is given up: its key may be used anew, if it still stands for that command.
-- KEYS  idempotency key (hash)
-- ARGV  1 id of the command's first instance
-- Returns  1 if the key was dropped, else 0
-- Safe to repeat.
if redis.call('HGET', KEYS[1], '1') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
