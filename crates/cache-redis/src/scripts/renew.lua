-- Has a lease end later.
--
-- KEYS: the lease. ARGV: its owner's token, the period in ms. Answers 1, or 0 when it is not the
-- owner's any more.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
