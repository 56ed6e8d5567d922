-- The record of what may be evicted, and in which order, for servers whose own policy is another.
--
-- KEYS, the last three: the order, a sorted set of names (`NAMESPACE:TEXT`), of which the lowest goes
-- first; what is known of each, a hash of `BYTES RETAIN_UNTIL`; and a hash of counts.
-- ARGV, the last five: the policy; how many records there may be; how many bytes, 0 for any; the
-- time in ms; 1 while there may be less than that under pressure, else 0.

local TRACK_KEYS = 3

local order, known_of, counts = KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS]
local policy, entries_max = ARGV[#ARGV - 4], tonumber(ARGV[#ARGV - 3])
local bytes_max, now = tonumber(ARGV[#ARGV - 2]), tonumber(ARGV[#ARGV - 1])
local is_shrunk = ARGV[#ARGV] == '1'
local prefix = string.sub(order, 1, -#'~order' - 1)

-- How many bytes Redis takes for so many: its allocator has four sizes between two powers of two.
local function allocated(len)
  local power = 64
  while power * 2 < len do
    power = power * 2
  end
  local step = power / 4
  return math.ceil(len / step) * step
end

-- About what a record takes: its bytes, its name here and there, and the nodes that hold them.
local function size_of(key, len)
  return allocated(len + 16) + 3 * #key + 250
end

-- What the tables take in which Redis finds all these names: as much as for the most of them that
-- there were, as tables shrink late.
local function tables_size(entries)
  local high = tonumber(redis.call('HGET', counts, 'entries_high') or '0')
  if entries > high or entries * 10 < high then
    high = entries
    redis.call('HSET', counts, 'entries_high', high)
  end
  local buckets = 4
  while buckets < high do
    buckets = buckets * 2
  end
  return 40 * buckets
end

local function next_number()
  return redis.call('HINCRBY', counts, 'number', 1)
end

-- Where a record stands that was written now: `before` is where it stood, if it was there.
local function score_of(name, expires_at, before)
  local number = next_number()
  if policy == 'arrival' then
    return before or number
  elseif policy == 'deadline' then
    return expires_at
  elseif policy == 'chance' then
    return tonumber(string.sub(redis.sha1hex(name .. number), 1, 8), 16)
  elseif policy == 'frequency' then
    local reads = before and math.floor(before / WORD) + 1 or 0
    return math.min(reads, 1048575) * WORD + number % WORD
  end
  return number
end

local function facts_of(name)
  local facts = redis.call('HGET', known_of, name)
  if not facts then
    return nil
  end
  local bytes, retain_until = string.match(facts, '^(%d+) (%d+)$')
  return tonumber(bytes), tonumber(retain_until)
end

local function forget(name)
  local bytes = facts_of(name)
  if bytes then
    redis.call('HDEL', known_of, name)
    redis.call('HINCRBY', counts, 'bytes', -bytes)
  end
end

local function untrack(key)
  local name = string.sub(key, #prefix + 1)
  if redis.call('ZREM', order, name) > 0 then
    forget(name)
  end
end

-- Takes a value out. A tombstone of its fence takes its place while that must be remembered.
-- Answers whether it was a value that somebody could have read.
local function give_up(key, retain_until)
  local mark, header = read(key)
  if not mark or string.byte(header, 2) % 128 ~= 1 then
    return false
  end
  local name = string.sub(key, #prefix + 1)
  local control = prefix .. string.match(name, '^[^:]*')
  local floor, last = open(control, 0)
  local counts_as = is_live(mark, floor, last) and mark_at(header, 49) > now
  if not is_live(mark, floor, last) or retain_until <= now then
    redis.call('UNLINK', key)
    return counts_as
  end
  local fence, moments = pack_mark(mark), struct.pack('>I4I4', 0, 0)
  local tail = string.rep('\0', 14) .. string.rep(moments, 3)
  local head = string.char(1, 2, 0, 0)
  head = head .. struct.pack('>I4', crc32(head .. tail))
  if is_versioned(header) then
    head, tail = with_version(header, head, tail)
  end
  redis.call('SET', key, head .. fence .. struct.pack('>I2', sum_of(fence)) .. tail, 'PX',
    string.format('%.0f', retain_until - now))
  return counts_as
end

-- Evicts until there is room for so many more, or `steps` are done. Answers whether there is still
-- too much, and how many values went.
local function evict(steps, bytes_more, entries_more)
  local evicted = 0
  for _ = 1, steps do
    local entries = redis.call('ZCARD', order) + entries_more
    local too_many_bytes = false
    if bytes_max > 0 then
      local bytes = tonumber(redis.call('HGET', counts, 'bytes') or '0') + bytes_more
      too_many_bytes = bytes + tables_size(entries) > bytes_max
    end
    if not too_many_bytes and entries <= entries_max then
      return false, evicted
    end
    local name = redis.call('ZPOPMIN', order)[1]
    if not name then
      redis.call('HSET', counts, 'bytes', 0)
      return false, evicted
    end
    local _, retain_until = facts_of(name)
    forget(name)
    if give_up(prefix .. name, retain_until or 0) then
      local reason = is_shrunk and 'pressure' or too_many_bytes and 'for_bytes' or 'for_entries'
      redis.call('HINCRBY', counts, reason, 1)
      evicted = evicted + 1
    end
  end
  return true, evicted
end

-- Notes a record that was written under `key`. `was_there`: in the place of another one. Room for
-- one that was not is made before it counts, or it would itself be the first to go.
local function track(key, len, expires_at, retain_until, was_there)
  local name = string.sub(key, #prefix + 1)
  local bytes = size_of(key, len)
  if not was_there then
    untrack(key)
    evict(64, bytes, 1)
  end
  local before = was_there and tonumber(redis.call('ZSCORE', order, name) or nil) or nil
  local bytes_before = facts_of(name) or 0
  redis.call('ZADD', order, string.format('%.0f', score_of(name, expires_at, before)), name)
  redis.call('HSET', known_of, name, string.format('%.0f %.0f', bytes, retain_until))
  redis.call('HINCRBY', counts, 'bytes', bytes - bytes_before)
end
