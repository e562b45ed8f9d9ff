-- Put before the scripts that change what processes remember: catalogues, refusals, names, numbers.

-- string: set by each script to the key that it was given
local version

-- What is read again when it changes is told by one text, made of all changes so far.
local function changed(what)
  redis.call('SET', version, redis.sha1hex((redis.call('GET', version) or '') .. what .. now_ms()))
end
