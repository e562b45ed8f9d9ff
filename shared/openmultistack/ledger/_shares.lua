-- Put before the scripts that change what is free in a region: how free each region is, for short
-- lists. Two characters (0 to 127) for each region, by its number: 0 if nothing is let in, as far as
-- no time has to pass for that.

-- string: set by each script to the key that it was given
local shares
local SHARE_MAX = 128 * 128 - 1

-- The number of a region, or nil if what it has for one is none.
local function number_of(text)
  local number = tonumber(text or nil)
  return number and number >= 0 and number < 1e6 and number or nil
end

-- Write down a share, from 0 to 1, of the region with a number; nothing of one without.
local function write_share(number, share)
  number = number_of(number)
  if not number then return end
  local told = share > 0 and 1 + math.floor(share * (SHARE_MAX - 1)) or 0
  redis.call('SETRANGE', shares, 2 * number, string.char(math.floor(told / 128), told % 128))
end

-- Nothing is let into a region: until it is shown again, by its sweep or by what happens there.
local function hide(region)
  write_share(redis.call('HGET', region, 'number'), 0)
end

local function free_part(cap, foreign, held)
  cap = tonumber(cap)
  return cap > 0 and (cap - (foreign or 0) - (held or 0)) / cap or 0
end

-- How free a region is that holds so many slots, by its COUNTS, which were read after so many other
-- fields: as free as the scarcest of what every server takes. What some do without keeps nobody
-- else away. No cap is no bound; but a region without one of instances was never swept.
local function free_share(it, before, held)
  local share = free_part(it[before + 1] or 0, it[before + 2], held)
  for at = before + 3, before + 3 * (IN_ALL - 1), 3 do
    if it[at] then share = math.min(share, free_part(it[at], it[at + 1], it[at + 2])) end
  end
  return share
end

-- Write down how free a region is now.
local function show(region, slots, now)
  local it = redis.call('HMGET', region, 'number', 'state', 'full', 'drained', 'open_until_ms',
    'paused_until_ms', 'building', 'max_building', COUNTS)
  local number, state, full, drained, open_until, paused_until, building, max_building = unpack(it, 1, 8)
  local rests = tonumber(open_until or 0) > now or tonumber(paused_until or 0) > now
  local builds_on = not max_building or (building or 0) - max_building < 0
  if state ~= 'up' or full or drained or rests or not builds_on then return write_share(number, 0) end
  write_share(number, free_share(it, 8, redis.call('HLEN', slots)))
end
