-- Clears a namespace: raises its floor above every mark given out so far.
--
-- KEYS: those of the log, its control key. ARGV: those of the log, 5. the last mark that the caller
-- has met, 6. its name, as the log wants it. Answers the last mark.

local seed, met = tonumber(ARGV[1]), tonumber(ARGV[5])
local _, last, known = open(KEYS[3], seed)
if is_lost(met, last, known) then
  last = give_up(KEYS[3], last, met)
end
if last >= MARK_MAX then
  last = seed
end
-- A full Redis refuses a script's first write unless it gives room back, and whoever clears may do
-- it to make room.
redis.call('UNLINK', KEYS[3])
reserve(1)
save(KEYS[3], last + 1, last + 1)
tell('clear', ARGV[6], pack_mark(last + 1), 'cache')
return pack_mark(last + 1)
