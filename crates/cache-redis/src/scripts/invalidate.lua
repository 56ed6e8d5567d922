-- Removes a key as the cache does, for programs that know Redis only. Stands by itself: send it with
-- EVAL, or load it once and send its hash.
--
-- KEYS: `PREFIX:~log`, `PREFIX:~log:end`, `PREFIX:NAMESPACE`, `PREFIX:NAMESPACE:TEXT`.
-- ARGV: the time in microseconds since 1970, a random number from 1 to 4294967295, the time in ms,
-- the length of the log (`log_len_max`, 100000 unless configured, 0 for none), how long the removal
-- is remembered in ms (`fence_retention`, 60000 unless configured).
-- Answers 1.

local seed, life = tonumber(ARGV[1]), tonumber(ARGV[5])
local control, key = KEYS[3], KEYS[4]
if string.sub(key, 1, #control + 1) ~= control .. ':' then
  return redis.error_reply('ERR the key does not lie in the namespace')
end
local floor, last = open(control, seed)
if last >= MARK_MAX then
  floor, last = seed, seed
end
-- A full Redis refuses a script's first write unless it gives room back.
redis.call('UNLINK', control)
save(control, floor, last + 1)
local mark, header = read(key)
if mark and not is_live(mark, floor, last) then
  header = nil
end
local fence, moments = pack_mark(last + 1), struct.pack('>I4I4', 0, 0)
local tail = string.rep('\0', 14) .. string.rep(moments, 3)
local head = string.char(1, 2, 0, 0)
head = head .. struct.pack('>I4', crc32(head .. tail))
if header and is_versioned(header) then
  head, tail = with_version(header, head, tail)
end
reserve(1)
redis.call('SET', key, head .. fence .. struct.pack('>I2', sum_of(fence)) .. tail, 'PX',
  string.format('%.0f', life))
local name = string.match(key, '^[^:]*:(.*)$')
tell('key', struct.pack('>I4I4', 0, #name) .. name, fence, 'app')
return 1
