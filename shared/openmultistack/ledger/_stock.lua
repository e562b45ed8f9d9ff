-- Put before the scripts that write down what a region offers: what it refused is asked anew.
local function stock(name, region, catalogue, versions, unsuited, refused, text)
  redis.call('SET', catalogue, text)
  redis.call('HSET', versions, name, redis.sha1hex(text))
  redis.call('HSET', region, 'catalogue_at_ms', now_ms())
  redis.call('HDEL', unsuited, name)
  redis.call('DEL', refused)
end
