-- Forgets records that are not there any more: they expired, were cleared, or were removed by
-- another program.
--
-- KEYS: the keys of the records, then those of `track`. ARGV: those of `track`.

local forgotten = 0
for i = 1, #KEYS - TRACK_KEYS do
  local key = KEYS[i]
  local mark, header = read(key)
  local is_there = false
  if mark and string.byte(header, 2) % 128 == 1 then
    local name = string.sub(key, #prefix + 1)
    local floor, last = open(prefix .. string.match(name, '^[^:]*'), 0)
    is_there = is_live(mark, floor, last) and mark_at(header, 49) > now
  end
  if not is_there then
    untrack(key)
    forgotten = forgotten + 1
  end
end
return forgotten
