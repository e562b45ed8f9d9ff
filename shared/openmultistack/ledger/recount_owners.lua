-- Make anew what owners hold, from the slots of all regions.
-- KEYS  regions (set), places (hash), heads (zset), the owners' usages (hashes), then the slots of all
--       regions (hashes)
-- ARGV  1 JSON {owners: of the usages, in their order; regions: of the slots}
-- Returns  how many were wrong; 0 if a region has come up of which no slots are given
-- Safe to repeat.
local ask, known, sums, wrong = cjson.decode(ARGV[1]), {}, {}, 0
heads = KEYS[3]
for _, region in ipairs(ask.regions) do known[region] = true end
for _, regions in ipairs({redis.call('SMEMBERS', KEYS[1]), redis.call('HKEYS', KEYS[2])}) do
  for _, region in ipairs(regions) do
    if not known[region] then return 0 end
  end
end
for _, owner in ipairs(ask.owners) do sums[owner] = nothing() end
for i = 4 + #ask.owners, #KEYS do
  for _, text in ipairs(redis.call('HVALS', KEYS[i])) do
    -- To see that a slot is another owner's takes much less time than to decode it.
    local owner = string.match(text, '"owner":"([^"\\]*)"')
    local slot = (not owner or sums[owner]) and read_slot(text)
    if slot and sums[slot.owner] then add(sums[slot.owner], slot, 1) end
  end
end
for i, owner in ipairs(ask.owners) do
  local usage, sum = KEYS[3 + i], sums[owner]
  local told, fields = redis.call('HMGET', usage, RESOURCES), {}
  for at, what in ipairs({RESOURCES}) do
    if tonumber(told[at] or 0) ~= sum[what] then push(fields, what, sum[what]) end
  end
  if #fields > 0 then
    wrong = wrong + 1
    redis.call('HSET', usage, unpack(fields))
    redis.call('PERSIST', usage)
    rank(usage, sum.instances)
    let_go(usage)
  end
end
return wrong
