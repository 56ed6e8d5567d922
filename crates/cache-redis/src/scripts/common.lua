-- What every script shares: how marks, control keys and records are read and written.
--
-- A control key holds the floor of its namespace (the mark of its last clear) and the last mark
-- that was given out, eight bytes each. A record is live while its mark lies between the two. One
-- above the last mark is left from before the control key was lost, and just as dead as one below
-- the floor.

local MARK_MAX = 9007199254740991 -- 2^53 - 1: beyond, numbers here are not exact.
local WORD = 4294967296 -- 2^32
local CONTROL_LEN = 16
local HEADER_LEN = 56

local function mark_at(bytes, at)
  local high, low = struct.unpack('>I4I4', bytes, at)
  return high * WORD + low
end

local function pack_mark(mark)
  local low = mark % WORD
  return struct.pack('>I4I4', (mark - low) / WORD, low)
end

local function sum_of(packed_mark)
  local a, b, c, d, e, f, g, h = string.byte(packed_mark, 1, 8)
  return a + b + c + d + e + f + g + h
end

-- The floor and the last mark of a namespace, and whether they were there. Where they were not,
-- both are `seed`, which is above all marks given out before.
local function open(control, seed)
  -- A key of another type raises an error, which is as good as nothing there.
  local bytes = redis.pcall('GET', control)
  if type(bytes) == 'string' and #bytes == CONTROL_LEN then
    local floor, last = mark_at(bytes, 1), mark_at(bytes, 9)
    if floor <= last and last <= MARK_MAX then
      return floor, last, true
    end
  end
  return seed, seed, false
end

local function save(control, floor, last)
  redis.call('SET', control, pack_mark(floor) .. pack_mark(last))
end

-- The mark and the header of what is stored under `key`; nothing when that has no fence.
local function read(key)
  local header = redis.pcall('GETRANGE', key, 0, HEADER_LEN - 1)
  if type(header) ~= 'string' or #header < HEADER_LEN or string.byte(header, 1) ~= 1 then
    return nil
  end
  local mark = mark_at(header, 9)
  if mark > MARK_MAX or sum_of(string.sub(header, 9, 16)) ~= struct.unpack('>I2', header, 17) then
    return nil
  end
  return mark, header
end

local function is_live(mark, floor, last)
  return mark >= floor and mark <= last
end

-- Whether a namespace has lost data since its caller met the mark `met`: a mark never goes back.
-- 0 stands for a caller that has met none.
local function is_lost(met, last, known)
  return met > 0 and (not known or last < met)
end
