-- Where the log ends, which it is made to where that is not known.
--
-- KEYS and ARGV: those of the log.

open_log(tonumber(ARGV[1]))
save_log()
return string.format('%.0f-%s', log.seq, log.last)
