-- What is made of the bytes of records.

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
