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

local function free_share(cap, foreign, held)
  cap = tonumber(cap or 0)
  return cap > 0 and (cap - (foreign or 0) - (held or 0)) / cap or 0
end

-- Write down how free a region is now.
local function show(region, slots, now)
  local it = redis.call('HMGET', region, 'number', 'state', 'full', 'drained', 'open_until_ms',
    'paused_until_ms', 'building', 'max_building', 'cap_instances', 'foreign_instances',
    'cap_vcpus', 'foreign_vcpus', 'held_vcpus', 'cap_ram_mb', 'foreign_ram_mb', 'held_ram_mb')
  if it[2] ~= 'up' or it[3] or it[4] or tonumber(it[5] or 0) > now or tonumber(it[6] or 0) > now
    or (it[8] and (it[7] or 0) - it[8] >= 0) then return write_share(it[1], 0) end
  write_share(it[1], math.min(free_share(it[9], it[10], redis.call('HLEN', slots)),
    free_share(it[11], it[12], it[13]), free_share(it[14], it[15], it[16])))
end
