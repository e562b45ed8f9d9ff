-- Put before the scripts that place: which of the candidates is taken.

-- The candidate whose live share times this is least goes first; the rank breaks ties.
local SIGNS = {freest = -1, fullest = 1, first = 0}

-- How many fit into each candidate now, how many would in all, and the sum of the former.
local function rooms(ask, first, now)
  local left, all, free = {}, {}, 0
  for i, kind in ipairs(ask.kind_of) do
    local at = first + 2 * (i - 1)
    -- One whose fields cannot be read has no room; that is no reason not to take another.
    local good, fits, of = pcall(room, KEYS[at], KEYS[at + 1], ask.kinds[kind].need, now)
    left[i], all[i] = good and fits or 0, good and of or 1
    free = free + left[i]
  end
  return left, all, free
end

-- The candidate to take first, or nil.
local function choose(pick, left, all)
  local sign, best, least = SIGNS[pick], nil, math.huge
  for i = 1, #left do
    if left[i] > 0 and sign * left[i] / all[i] < least then best, least = i, sign * left[i] / all[i] end
  end
  return best
end

-- Let the candidate at a place of a heap sink to where it belongs.
local function sink(heap, at, goes_before)
  local it, size = heap[at], #heap
  while 2 * at <= size do
    local child = 2 * at
    if child < size and goes_before(heap[child + 1], heap[child]) then child = child + 1 end
    if not goes_before(heap[child], it) then break end
    heap[at], at = heap[child], child
  end
  heap[at] = it
end

-- Returns what tells the candidate to take next, or nil, each time as one less is left in the last.
local function chooser(pick, left, all)
  local sign, heap, value, last = SIGNS[pick], {}, {}, nil
  for i = 1, #left do
    if left[i] > 0 then heap[#heap + 1], value[i] = i, sign * left[i] / all[i] end
  end
  local function goes_before(one, other)
    return value[one] < value[other] or (value[one] == value[other] and one < other)
  end
  for at = math.floor(#heap / 2), 1, -1 do sink(heap, at, goes_before) end
  return function()
    if last then
      value[last] = sign * left[last] / all[last]
      if left[last] <= 0 then
        local lowest = table.remove(heap)
        if #heap > 0 then heap[1] = lowest end
      end
      if #heap > 1 then sink(heap, 1, goes_before) end
    end
    last = heap[1]
    return last
  end
end

-- Which candidate each of the wanted instances goes to, as far as there is room and the owner's
-- quota; the slots there were; and what is short: `full` or `quota`.
local function choose_all(ask, wanted, left_to_owner, now)
  local picks, left, all, free = {}, rooms(ask, 1, now)
  local next_of = wanted == 1 and function() return choose(ask.pick, left, all) end
    or chooser(ask.pick, left, all)
  for i = 1, wanted do
    local chosen = next_of()
    if not chosen then return picks, free, 'full' end
    if not afford(left_to_owner, ask.kinds[ask.kind_of[chosen]].need) then return picks, free, 'quota' end
    left[chosen] = left[chosen] - 1
    picks[i] = chosen
  end
  return picks, free, 'full'
end
