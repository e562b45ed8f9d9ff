-- Put before the scripts that change who waits, or what an owner holds: the queue and its index.
-- A member of the queue, `priority/owner/id`, stands in its owner's line too (zset: by priority,
-- then time). Of each line the first stands among the heads (zset): by priority, then by what the
-- owner holds, then by its own text, `time/id/priority/owner`. So the first head is served first.

-- zset: set by each script to the key that it was given
local heads
-- A priority is from -1000 to 1000; below it fits an epoch in ms, or what an owner holds.
local TIMES, HOLDINGS = 2 ^ 42, 2 ^ 32

local function head_of(member, score)
  local priority, owner, id = string.match(member, '^(.-)/(.-)/(.*)$')
  return string.format('%014d/%s/%s/%s', score - priority * TIMES, id, priority, owner)
end

local function score_of(head, holds)
  return string.match(head, '^.-/.-/(.-)/') * HOLDINGS + holds
end

-- An owner who holds nothing, nor waits, is remembered a little: for the rate of their creates.
local function let_go(usage)
  local it = redis.call('HMGET', usage, 'instances', 'head')
  if tonumber(it[1] or 0) <= 0 and not it[2] then redis.call('PEXPIRE', usage, 600000) end
end

-- What an owner holds has changed.
local function rank(usage, holds)
  local head = redis.call('HGET', usage, 'head')
  if head then redis.call('ZADD', heads, score_of(head, holds), head) end
end

-- An owner's line has changed.
local function come_forward(line, usage)
  local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  local it = redis.call('HMGET', usage, 'head', 'instances')
  while first[1] and not string.match(first[1], '^-?%d+/.-/') do
    redis.call('ZREM', line, first[1]) -- no member of ours: it would stand before all others
    first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  end
  local head = first[1] and head_of(first[1], first[2])
  if it[1] == (head or false) then return end
  if it[1] then redis.call('ZREM', heads, it[1]) end
  if not head then redis.call('HDEL', usage, 'head') return let_go(usage) end
  redis.call('HSET', usage, 'head', head)
  redis.call('PERSIST', usage)
  redis.call('ZADD', heads, score_of(head, it[2] or 0), head)
end

-- Some of an owner's wait from now on: flat pairs of since when (epoch ms) and member.
local function join(queue, line, usage, waiting)
  local scores = {}
  for i = 1, #waiting, 2 do
    push(scores, string.match(waiting[i + 1], '^(.-)/') * TIMES + waiting[i], waiting[i + 1])
  end
  redis.call('ZADD', queue, unpack(waiting))
  redis.call('ZADD', line, unpack(scores))
  come_forward(line, usage)
end

-- One waits no more; nothing happens if it did not.
local function leave(queue, line, usage, member)
  redis.call('ZREM', queue, member)
  if redis.call('ZREM', line, member) == 1 then come_forward(line, usage) end
end
