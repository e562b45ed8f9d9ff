-- Put before the scripts that write down orders, or let them go. What all instances of a command were
-- ordered as is kept once if it is long: their records have `@<the first one's id>` for it.

-- hash: set by each script to the key that it was given; `@id` to the order, `@id:n` to how many
-- records have it
local orders
local LONG = 512

-- What a record is to have of an order, of a command of so many instances of which this is the first.
local function keep_order(order, first, count)
  if #order <= LONG then return order end
  local name = '@' .. first
  redis.call('HSET', orders, name, order, name .. ':n', count)
  return name
end

-- An instance is ordered no more.
local function let_order_go(record)
  local order = redis.call('HGET', record, 'order')
  if not order then return end
  redis.call('HDEL', record, 'order')
  if string.sub(order, 1, 1) == '@' and redis.call('HINCRBY', orders, order .. ':n', -1) <= 0 then
    redis.call('HDEL', orders, order, order .. ':n')
  end
end
