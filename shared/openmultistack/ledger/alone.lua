-- What a configured name leads to cannot be learnt: it is told of by itself, unless the place that it
-- stood for has no other name by now.
-- KEYS  places, named (hashes: see bind.lua), version (string)
-- ARGV  1 name
-- Returns  1 if it stands for itself from now on, 0 if nothing changed
-- Safe to repeat.
local name = ARGV[1]
local place = redis.call('HGET', KEYS[2], name)
local known = place and redis.call('HGET', KEYS[1], place)
if not known or cjson.decode(known).name == name then return 0 end
version = KEYS[3]
redis.call('HSET', KEYS[2], name, name)
changed(name)
return 1
