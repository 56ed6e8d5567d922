-- Appends a sign of life, unless there was one a moment ago: many processes give them, and they
-- must not drive the notices out of the log.
--
-- KEYS: those of the log, 3. what lasts for that moment. ARGV: those of the log, 5. the moment in
-- ms.

if redis.call('SET', KEYS[3], '1', 'NX', 'PX', ARGV[5]) then
  reserve(1)
  tell('beat', '', '', 'cache')
end
return 1
