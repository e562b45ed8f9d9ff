-- Put before the scripts that place: which of the candidates is taken.

-- The candidate to take next, or nil: `freest` and `fullest` by live share, `first` by rank.
local function choose(pick, left, all)
  local best, best_share
  local sign = pick == 'fullest' and -1 or 1
  for i = 1, #left do
    if left[i] > 0 then
      if pick == 'first' then return i end
      local share = sign * left[i] / all[i]
      if not best or share > best_share then best, best_share = i, share end
    end
  end
  return best
end

-- How many fit into each candidate now, how many would in all, and the sum of the former.
local function rooms(ask, first, now)
  local left, all, free = {}, {}, 0
  for i, kind in ipairs(ask.kind_of) do
    local at = first + 2 * (i - 1)
    left[i], all[i] = room(KEYS[at], KEYS[at + 1], ask.kinds[kind].need, now)
    free = free + left[i]
  end
  return left, all, free
end

-- Which candidate each of the wanted instances goes to, by live share, as far as there is room and
-- the owner's quota; the slots there were; and what is short: `full` or `quota`.
local function choose_all(ask, wanted, left_to_owner, now)
  local picks, left, all, free = {}, rooms(ask, 1, now)
  for i = 1, wanted do
    local chosen = choose(ask.pick, left, all)
    if not chosen then return picks, free, 'full' end
    if not afford(left_to_owner, ask.kinds[ask.kind_of[chosen]].need) then return picks, free, 'quota' end
    left[chosen] = left[chosen] - 1
    picks[i] = chosen
  end
  return picks, free, 'full'
end
