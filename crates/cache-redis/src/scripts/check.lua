-- Gives up a namespace that has lost data.
--
-- KEYS: those of the log, its control key. ARGV: those of the log, 5. the last mark that the caller
-- has met. Answers the last mark.

local _, last, known = open(KEYS[3], tonumber(ARGV[1]))
local met = tonumber(ARGV[5])
if is_lost(met, last, known) then
  last = give_up(KEYS[3], last, met)
end
return pack_mark(last)
