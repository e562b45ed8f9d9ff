-- Put before the scripts that meet what a ledger does not know, as one restored from an old copy:
-- only what is known to be over, or to live elsewhere, does not give way to a living server.

-- Why an instance ended, if that is why its servers may be deleted.
local FOR_GOOD = {destroyed = true, expired = true, refused = true}

local function read_record(record)
  local names, it = {'status', 'attempt', 'region', 'server_id', 'ended', 'expires_at_ms',
    'was_due_ms', 'queue'}, {}
  for i, value in ipairs(redis.call('HMGET', record, unpack(names))) do it[names[i]] = value or nil end
  return it
end

-- Whether an instance was due at this time, until its owner put that off or brought it forward.
local function was_due(it, at_ms)
  return (',' .. (it.was_due_ms or '') .. ','):find(',' .. string.format('%.0f', at_ms) .. ',', 1, true) ~= nil
end

-- Whether an instance is over. One whose time was up is not, if the server tells of a later time
-- than the ledger ever knew.
local function is_ended(it, at_ms, now)
  local ended = it.ended or (it.status == 'DELETING' and 'destroyed')
  if it.status ~= 'DELETING' and it.status ~= 'DELETED' or not FOR_GOOD[ended] then return false end
  return ended ~= 'expired' or at_ms <= now or at_ms <= tonumber(it.expires_at_ms) or was_due(it, at_ms)
end

-- Whether what the ledger has of an instance gives way to a server {attempt, expires_at_ms, failed}.
local function gives_way(it, server, now)
  if not it.status then return true end
  if is_ended(it, server.expires_at_ms, now) then return false end
  local newer = server.attempt > tonumber(it.attempt)
  if server.failed then
    local same = server.attempt == tonumber(it.attempt)
    if it.status == 'DELETED' or it.status == 'ERROR' and not it.server_id then return newer or same end
    return newer and (it.status == 'BUILD' or it.status == 'QUEUED')
  end
  return newer or it.status == 'QUEUED' or it.status == 'DELETED' or it.status == 'DELETING'
    or (it.status == 'ERROR' and not it.server_id)
end

-- What a story says of what the ledger had before.
local function instead_of(it)
  if not it.status then return '' end
  if it.status == 'DELETED' or it.status == 'DELETING' then return ', though it was taken for gone' end
  if it.status == 'QUEUED' then return ', though it was taken to wait' end
  return ', though attempt ' .. it.attempt .. ' was taken for the last'
end
