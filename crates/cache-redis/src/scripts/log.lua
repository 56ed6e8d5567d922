-- What every script shares that appends to the log. The crate's documentation tells
-- the form of its entries.
--
-- KEYS: the stream, and the key that holds where it ends: the id of the last entry (`SEQ-NONCE`), a
-- space, and the seed at which the log was made, or last broken.
-- ARGV: 1. the seed, 2. a random number, 3. the time in ms, 4. the length of the log, 0 for none.

local log = { nonce = ARGV[2], now = ARGV[3], len_max = tonumber(ARGV[4]), moved = false }

local function open_log(seed)
  local text = redis.pcall('GET', KEYS[2])
  if type(text) == 'string' then
    local seq, last, birth = string.match(text, '^(%d+)%-(%d+) (%d+)$')
    log.seq, log.last, log.birth = tonumber(seq), last, tonumber(birth)
  end
  if not log.seq or log.seq >= MARK_MAX then
    -- What was known of the end is lost. This nonce is nobody's, so every reader finds a gap.
    log.seq, log.last, log.birth, log.moved = seed, log.nonce, seed, true
  end
end

local function add(change, name, mark, author, digest)
  return redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', log.len_max,
    string.format('%.0f-%s', log.seq, log.nonce), 'p', log.last, 'c', change, 'n', name,
    'm', string.format('%.0f', mark), 't', log.now, 'a', author, 'd', string.format('%.0f', digest))
end

-- Appends before the change is made: should a later command fail, there is a notice too many, but
-- never one too few.
local function append(change, name, mark, author, digest)
  if log.len_max == 0 then
    return
  end
  if not log.seq then
    open_log(tonumber(ARGV[1]))
  end
  log.seq, log.moved = log.seq + 1, true
  local added = add(change, name, mark, author, digest)
  if type(added) == 'table' and added.err then
    -- A key of another type, or a stream with larger ids than ours.
    redis.call('UNLINK', KEYS[1])
    add(change, name, mark, author, digest)
    -- If that was refused as well, the log ends behind an entry that it does not hold: a gap.
  end
  log.last = log.nonce
end

-- Makes every reader find a gap, unless the log was made after the mark `met` was given out: then
-- every reader does so anyway.
local function break_log(met)
  if log.len_max == 0 then
    return
  end
  local seed = tonumber(ARGV[1])
  if not log.seq then
    open_log(seed)
  end
  if log.birth <= met then
    log.seq, log.last, log.birth, log.moved = log.seq + 1, log.nonce, seed, true
  end
end

local function save_log()
  if log.moved then
    redis.call('SET', KEYS[2], string.format('%.0f-%s %.0f', log.seq, log.last, log.birth))
  end
end

-- Raises the floor of a namespace that has lost data above every mark that was ever given out. What
-- is left of it may be older than what somebody has seen.
local function give_up(control, last, met)
  local mark = tonumber(ARGV[1])
  if last < MARK_MAX then
    mark = math.max(mark, last + 1)
  end
  -- A full Redis refuses a script's first write unless it gives room back.
  redis.call('UNLINK', control)
  save(control, mark, mark)
  break_log(met)
  return mark
end
