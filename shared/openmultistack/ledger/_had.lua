-- Put before the scripts that learn which server an attempt has.

-- Remember for as long as the record is kept that this is the attempt's server: another one that
-- carries its marks when this one is gone is a copy. The first that is known stays.
local function remember_server(record, attempt, region, server_id)
  redis.call('HSETNX', record, string.format('had:%d:%s', attempt, region), server_id)
end
