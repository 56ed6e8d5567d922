-- Ends a lease, and tells those who wait for it.
--
-- KEYS: the lease. ARGV: its owner's token, the channel. Answers 1, or 0 when it is not the owner's
-- any more.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('UNLINK', KEYS[1])
-- Without the right to it, those who wait look again by themselves.
redis.pcall('PUBLISH', ARGV[2], KEYS[1])
return 1
