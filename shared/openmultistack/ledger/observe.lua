-- What the cloud shows of attempts' servers in a region goes into the ledger; an unproven attempt
-- is thereby adopted.
-- KEYS  region, slots (hashes), shares (string), orders (hash), then for each attempt: record (hash), events (list)
-- ARGV  1 JSON {region, attempts: [{id, attempt, server_id, addresses: JSON, or '' if none is
--         shown: those known stay, status: BUILD, ACTIVE or DELETING (it may come back),
--         cloud_status: the cloud's own word, '' if it says no more}]}
-- Returns  of each attempt 1 if its slot exists, else 0
-- Safe to repeat.
local ask, now, found, built = cjson.decode(ARGV[1]), now_ms(), {}, 0
orders = KEYS[4]

local function observe(it, record, events)
  local slot = it.id .. '/' .. it.attempt
  local value = redis.call('HGET', KEYS[2], slot)
  if not value then return 0 end
  local function say(what, why)
    tell(events, {at_ms = now, what = what, region = ask.region, attempt = it.attempt, why = why})
  end

  local held = cjson.decode(value)
  -- Who asks saw the slot before another server was committed.
  if held.server_id and held.server_id ~= it.server_id then return 1 end
  local is_found = not held.server_id
  if is_found then
    held.server_id, held.lease_until_ms, held.since_ms = it.server_id, nil, now
    say('adopted', 'server ' .. it.server_id .. ' was found in the cloud')
  end
  if held.building and it.status == 'ACTIVE' then
    held.building, built = nil, built + 1
  end
  redis.call('HSET', KEYS[2], slot, cjson.encode(held))
  local was = redis.call('HMGET', record, 'status', 'attempt', 'cloud_status', 'region')
  if was[1] and is_found then remember_server(record, it.attempt, ask.region, it.server_id) end
  if was[2] ~= tostring(it.attempt) or was[4] ~= ask.region then return 1 end
  redis.call('HSET', record, 'server_id', it.server_id)
  if was[1] ~= 'BUILD' and was[1] ~= 'ACTIVE' then return 1 end
  if it.addresses ~= '' then redis.call('HSET', record, 'addresses', it.addresses) end
  if it.cloud_status == '' and was[3] then redis.call('HDEL', record, 'cloud_status') end
  if it.cloud_status ~= '' then redis.call('HSET', record, 'cloud_status', it.cloud_status) end
  if it.cloud_status ~= (was[3] or '') and was[1] == 'ACTIVE' then
    say('changed', 'the cloud shows it ' .. (it.cloud_status == '' and it.status or it.cloud_status))
  end
  if it.status == 'ACTIVE' and was[1] == 'BUILD' then
    redis.call('HSET', record, 'status', 'ACTIVE')
    redis.call('HDEL', record, 'nonce')
    let_order_go(record)
    say('active', 'the cloud shows it ACTIVE')
  end
  return 1
end

for i, it in ipairs(ask.attempts) do found[i] = observe(it, KEYS[2 * i + 3], KEYS[2 * i + 4]) end
if built > 0 then
  shares = KEYS[3]
  redis.call('HINCRBY', KEYS[1], 'building', -built)
  show(KEYS[1], KEYS[2], now)
end
return found
