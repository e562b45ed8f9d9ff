-- A command goes on without some of its instances: its key stands for the others from now on, but
-- for those that somebody was told of.
-- KEYS  idempotency key (hash), then the record of each instance to leave out (hashes)
-- ARGV  the ids of these instances
-- Returns  JSON list of the ids that were left out
-- Safe to repeat: what was left out already is named again.
local positions, out = {}, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do positions[fields[i + 1]] = fields[i] end
for i, id in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[i + 1], 'promised') == 0 then
    if positions[id] then redis.call('HDEL', KEYS[1], positions[id]) end
    out[#out + 1] = id
  end
end
return #out > 0 and cjson.encode(out) or '[]'
