-- What every script shares that appends to the log. The crate's documentation tells
-- the form of its entries.
--
-- KEYS: the stream, and the key that holds where it ends: the id of the last entry (`SEQ-NONCE`), a
-- space, and four numbers: the seed at which the log was made, or last broken; the entry before the
-- first one to be kept; the one at which changes were last counted anew; and the changes since.
-- ARGV: 1. the seed, 2. a random number, 3. the time in ms, 4. the length of the log, 0 for none.

local log = { nonce = ARGV[2], len_max = tonumber(ARGV[4]) }

local function open_log(seed)
  local text = redis.pcall('GET', KEYS[2])
  if type(text) == 'string' then
    local seq, last, birth, from, since, count =
      string.match(text, '^(%d+)%-(%d+) (%d+) (%d+) (%d+) (%d+)$')
    log.seq, log.last, log.birth = tonumber(seq), last, tonumber(birth)
    log.from, log.since, log.count = tonumber(from), tonumber(since), tonumber(count)
  end
  log.known = log.seq and log.seq < MARK_MAX and log.from <= log.seq and log.since <= log.seq
  if not log.known then
    -- What was known of the end is lost. This nonce is nobody's, so every reader finds a gap.
    log.seq, log.last, log.birth = seed, log.nonce, seed
    log.from, log.since, log.count = seed, seed, 0
  end
end

local function save_log()
  log.id = string.format('%.0f-%s', log.seq, log.last)
  redis.call('SET', KEYS[2], string.format('%s %.0f %.0f %.0f %.0f', log.id, log.birth, log.from,
    log.since, log.count))
end

-- Moves the end to an entry of `count` changes, which `tell` appends. To be called before the first
-- of them is made: should a later command fail, the log ends behind an entry that it does not hold.
-- That is a gap, where a change that nobody is told of would go unnoticed.
local function reserve(count)
  if log.len_max == 0 then
    return
  end
  if not log.seq then
    open_log(tonumber(ARGV[1]))
  end
  if log.count >= log.len_max then
    -- The entries of so many changes are kept, and those since. Redis can only count entries.
    log.from, log.since, log.count = log.since, log.seq, 0
  end
  log.before = log.last
  log.seq, log.last, log.count = log.seq + 1, log.nonce, log.count + count
  save_log()
end

local function add(change, names, marks, author)
  return redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', string.format('%.0f', log.seq - log.from),
    log.id, 'p', log.before, 't', ARGV[3], 'c', change, 'n', names, 'm', marks, 'a', author)
end

-- Appends the entry whose place is reserved: its changes' names, and their marks of eight bytes.
local function tell(change, names, marks, author)
  if log.len_max == 0 then
    return
  end
  local added = add(change, names, marks, author)
  if type(added) == 'table' and added.err then
    -- A key of another type, or a stream with larger ids than ours.
    redis.call('UNLINK', KEYS[1])
    add(change, names, marks, author)
    -- If that was refused as well, the end stays behind an entry that is not there: a gap.
  end
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
    log.seq, log.last, log.birth = log.seq + 1, log.nonce, seed
    save_log()
  elseif not log.known then
    save_log()
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
