-- Gives back the space of records that a clear has killed.
--
-- KEYS: a control key, then record keys. Answers how many records were removed.

local floor, last, known = open(KEYS[1], 0)
local removed = 0
if known then
  for i = 2, #KEYS do
    local mark = read(KEYS[i])
    if mark and not is_live(mark, floor, last) then
      removed = removed + redis.call('UNLINK', KEYS[i])
    end
  end
end
return removed
