-- Put before the scripts that write down what a region offers: what it refused is asked anew.
local function stock(place, region, catalogue, versions, unsuited, refused, text)
  local digest = redis.sha1hex(text)
  local forgets = redis.call('HDEL', unsuited, place)
  redis.call('DEL', refused)
  redis.call('SET', catalogue, text)
  if redis.call('HGET', versions, place) ~= digest or forgets == 1 then changed(digest) end
  redis.call('HSET', versions, place, digest)
  redis.call('HSET', region, 'catalogue_at_ms', now_ms())
end
