-- Clears a namespace: raises its floor above every mark given out so far.
--
-- KEYS: its control key. ARGV: the seed.

local seed = tonumber(ARGV[1])
local _, last = open(KEYS[1], seed)
if last >= MARK_MAX then
  last = seed
end
-- A full Redis refuses a script's first write unless it gives room back, and whoever clears may do
-- it to make room.
redis.call('UNLINK', KEYS[1])
save(KEYS[1], last + 1, last + 1)
