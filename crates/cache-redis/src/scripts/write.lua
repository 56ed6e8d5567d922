-- Carries out changes, in their order.
--
-- KEYS: the control keys of the namespaces, then for each change the key of its record.
-- ARGV: the seed, the number of control keys, the fence retention in ms; then for each change:
--   1. its kind: `fill`, `put`, `remove`, or `displace` (a put that is too large: what is there
--      goes, and nothing takes its place)
--   2. the number of its control key, from 1
--   3. the mark that a fill has seen
--   4. how long to keep the record, in ms
--   5. the record's bytes before the fence, and 6. those after the fence's sum
-- Answers with a character for each change: `+` carried out, `-` refused.

local FIELDS = 6

-- The remainders of CRC-32 (IEEE, reflected) for four bits.
local CRC = {
  [0] = 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158,
  0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278,
  0xbdbdf21c,
}

local function crc32(bytes)
  local crc = 0xffffffff
  for i = 1, #bytes do
    crc = bit.bxor(crc, string.byte(bytes, i))
    crc = bit.bxor(bit.rshift(crc, 4), CRC[bit.band(crc, 15)])
    crc = bit.bxor(bit.rshift(crc, 4), CRC[bit.band(crc, 15)])
  end
  -- The functions of `bit` answer signed numbers.
  return bit.bnot(crc) % WORD
end

local function is_versioned(head)
  return string.byte(head, 2) >= 128
end

-- Whether `header` has a newer version than the record of `head` and `tail`, both having one.
-- Version numbers use all 64 bits, so their halves are compared.
local function is_newer(header, head, tail)
  if not (is_versioned(header) and is_versioned(head)) then
    return false
  end
  local their_high, their_low = struct.unpack('>I4I4', header, 25)
  local our_high, our_low = struct.unpack('>I4I4', tail, 7)
  return their_high > our_high or (their_high == our_high and their_low > our_low)
end

-- The tombstone of `head` and `tail` with the version of `header`.
local function with_version(header, head, tail)
  local start = string.char(1, 130) .. string.sub(head, 3, 4)
  tail = string.sub(tail, 1, 6) .. string.sub(header, 25, 32) .. string.sub(tail, 15)
  return start .. struct.pack('>I4', crc32(start .. tail)), tail
end

local seed, namespaces, retention = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local changes = #KEYS - namespaces

local floors, lasts, known, wanted = {}, {}, {}, {}
for n = 1, namespaces do
  floors[n], lasts[n], known[n] = open(KEYS[n], seed)
  wanted[n] = 0
end
for i = 1, changes do
  local at = 3 + (i - 1) * FIELDS
  if ARGV[at + 1] ~= 'fill' then
    local n = tonumber(ARGV[at + 2])
    wanted[n] = wanted[n] + 1
  end
end

-- The marks are taken before they are used: should a later command fail, some are never used, but
-- none is used twice.
for n = 1, namespaces do
  if wanted[n] > 0 then
    if lasts[n] + wanted[n] > MARK_MAX then
      floors[n], lasts[n], known[n] = seed, seed, false
    end
    if ARGV[4] == 'remove' then
      -- A full Redis refuses a script's first write unless it gives room back. A removal must not
      -- fail for want of room.
      redis.call('UNLINK', KEYS[n])
    end
    save(KEYS[n], floors[n], lasts[n] + wanted[n])
  end
end

local answers = {}
for i = 1, changes do
  local at = 3 + (i - 1) * FIELDS
  local kind, n, life = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 4])
  local head, tail = ARGV[at + 5], ARGV[at + 6]
  local key = KEYS[namespaces + i]

  local mark, header = read(key)
  if mark and not is_live(mark, floors[n], lasts[n]) then
    mark, header = nil, nil
  end

  local refused = kind ~= 'remove' and header and is_newer(header, head, tail)
  if kind == 'fill' then
    local seen = tonumber(ARGV[at + 3])
    -- Without a control key Redis has lost what happened since the fence was read, and a mark
    -- above the last one is from before such a loss.
    refused = refused or not known[n] or seen > lasts[n] or (mark or floors[n]) > seen
    if header and not refused then
      -- The fence of what is replaced must be remembered as long as it would have been.
      local left = redis.call('PTTL', key)
      life = math.max(life, left < 0 and retention or math.min(left, retention))
    end
    mark = seen
  elseif not refused then
    lasts[n] = lasts[n] + 1
    mark = lasts[n]
    if kind ~= 'put' and header and is_versioned(header) then
      if not is_versioned(head) or is_newer(header, head, tail) then
        head, tail = with_version(header, head, tail)
      end
    end
  end

  if refused then
    answers[i] = '-'
  else
    local fence = pack_mark(mark)
    local record = head .. fence .. struct.pack('>I2', sum_of(fence)) .. tail
    redis.call('SET', key, record, 'PX', string.format('%.0f', life))
    answers[i] = '+'
  end
end
return table.concat(answers)
