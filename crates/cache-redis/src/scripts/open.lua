-- Makes control keys that are missing.
--
-- KEYS: control keys. ARGV: the seed. Answers the content of each.

local seed = tonumber(ARGV[1])
local contents = {}
for i, control in ipairs(KEYS) do
  local floor, last, known = open(control, seed)
  if not known then
    save(control, floor, last)
  end
  contents[i] = pack_mark(floor) .. pack_mark(last)
end
return contents
