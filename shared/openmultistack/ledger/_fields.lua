-- Put before the scripts that write many fields at once, or members.

-- Two more arguments for a command that takes any number of pairs.
local function push(flat, first, second)
  flat[#flat + 1], flat[#flat + 2] = first, second
end

local function push_all(flat, fields)
  for field, value in pairs(fields) do push(flat, field, value) end
  return flat
end

local function set_all(hash, fields) redis.call('HSET', hash, unpack(push_all({}, fields))) end
