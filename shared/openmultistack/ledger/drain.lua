-- An operator lets nothing new into a region, or opens it again; what is there stays.
-- KEYS  regions (set of names), region, slots (hashes), shares (string)
-- ARGV  1 region, 2 `drain` or `open`, 3 why it is drained
-- Returns  1
-- Safe to repeat.
shares = KEYS[4]
if ARGV[2] == 'drain' then
  redis.call('SADD', KEYS[1], ARGV[1])
  redis.call('HSET', KEYS[2], 'drained', ARGV[3])
else
  redis.call('HDEL', KEYS[2], 'drained')
end
show(KEYS[2], KEYS[3], now_ms())
return 1
