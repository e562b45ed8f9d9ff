-- Move an instance's expiry to a time from now; of one that waits, its time after the wait.
-- KEYS  record (hash), events (list), due (zset)
-- ARGV  1 id, 2 ttl in ms
-- Returns  1, or 0 if the instance lives no more
-- Safe to repeat: the later call counts.
local now = now_ms()
local it = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'region', 'expires_at_ms', 'was_due_ms')
if not it[1] or it[1] == 'DELETING' or it[1] == 'DELETED' then return 0 end
redis.call('HSET', KEYS[1], 'ttl_ms', ARGV[2])
if it[1] == 'QUEUED' then return 1 end
local expires = now + ARGV[2]
-- Its server's marks tell one of these times, until a sweep has written the new one on it.
local was_due = {it[4]}
for at_ms in (it[5] or ''):gmatch('%d+') do was_due[#was_due + 1] = #was_due < 4 and at_ms or nil end
redis.call('HSET', KEYS[1], 'expires_at_ms', expires, 'was_due_ms', table.concat(was_due, ','))
redis.call('ZADD', KEYS[3], expires, ARGV[1])
tell(KEYS[2], {at_ms = now, what = 'renewed', region = it[3], attempt = tonumber(it[2]),
  why = 'expires in ' .. math.floor(ARGV[2] / 1000) .. ' s'})
return 1
