-- Where the log ends, which it is made to where that is not known.
--
-- KEYS and ARGV: those of the log.

open_log(tonumber(ARGV[1]))
if not log.known then
  save_log()
end
return string.format('%.0f-%s', log.seq, log.last)
