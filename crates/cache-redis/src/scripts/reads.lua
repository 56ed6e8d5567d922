-- Moves records that were read.
--
-- KEYS: those of `track`. ARGV: for each record its name and how often it was read; then those of
-- `track`.

for i = 1, #ARGV - 5, 2 do
  local name, reads = ARGV[i], tonumber(ARGV[i + 1])
  local before = tonumber(redis.call('ZSCORE', order, name) or nil)
  if before then
    local score = next_number()
    if policy == 'frequency' then
      score = math.min(math.floor(before / WORD) + reads, 1048575) * WORD + score % WORD
    end
    redis.call('ZADD', order, 'XX', string.format('%.0f', score), name)
  end
end
return 1
