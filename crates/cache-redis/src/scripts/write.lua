-- Carries out changes, in their order.
--
-- KEYS: those of the log, the control keys of the namespaces, then for each change the key of its
-- record.
-- ARGV: those of the log; 5. the number of control keys; 6. the fence retention in ms; for each
-- control key the last mark that the caller has met; then for each change:
--   1. its kind: `fill`, `put`, `remove`, or `displace` (a put that is too large: what is there
--      goes, and nothing takes its place)
--   2. the number of its control key, from 1
--   3. the mark that a fill has seen
--   4. how long to keep the record, in ms
--   5. the record's bytes before the fence, and 6. those after the fence's sum
--   then, of the changes other than fills, their names as the log wants them; at last those of
--   `track`, whose keys are the last ones too.
-- Answers with a character for each change, `+` carried out, `-` refused, and with the last mark of
-- each namespace, eight bytes each, and `>` where more has to be evicted; or with `!` alone when a namespace has lost data, in which case
-- that was given up and nothing else was done.

local FIELDS = 6
local HEAD = 6
local LOG_KEYS = 2

local seed, namespaces, retention = tonumber(ARGV[1]), tonumber(ARGV[5]), tonumber(ARGV[6])
local changes = #KEYS - LOG_KEYS - namespaces - TRACK_KEYS
local first = HEAD + namespaces

local floors, lasts, known, wanted = {}, {}, {}, {}
local lost, wanted_in_all = false, 0
for n = 1, namespaces do
  local control = KEYS[LOG_KEYS + n]
  floors[n], lasts[n], known[n] = open(control, seed)
  wanted[n] = 0
  local met = tonumber(ARGV[HEAD + n])
  if is_lost(met, lasts[n], known[n]) then
    give_up(control, lasts[n], met)
    lost = true
  end
end
if lost then
  return '!'
end
for i = 1, changes do
  local at = first + (i - 1) * FIELDS
  if ARGV[at + 1] ~= 'fill' then
    local n = tonumber(ARGV[at + 2])
    wanted[n] = wanted[n] + 1
    wanted_in_all = wanted_in_all + 1
  end
end

-- The marks are taken before they are used: should a later command fail, some are never used, but
-- none is used twice.
for n = 1, namespaces do
  if wanted[n] > 0 then
    if lasts[n] + wanted[n] > MARK_MAX then
      floors[n], lasts[n], known[n] = seed, seed, false
    end
    if ARGV[first + 1] == 'remove' then
      -- A full Redis refuses a script's first write unless it gives room back. A removal must not
      -- fail for want of room.
      redis.call('UNLINK', KEYS[LOG_KEYS + n])
    end
    save(KEYS[LOG_KEYS + n], floors[n], lasts[n] + wanted[n])
  end
end

-- The marks of the changes that the log wants to know. 0 is that of one that was refused.
local NONE = '\0\0\0\0\0\0\0\0'
local answers, marks, told, reserved = {}, {}, 0, false
for i = 1, changes do
  local at = first + (i - 1) * FIELDS
  local kind, n, life = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 4]
  local head, tail = ARGV[at + 5], ARGV[at + 6]
  local key = KEYS[LOG_KEYS + namespaces + i]

  local mark, header = read(key)
  if mark and not is_live(mark, floors[n], lasts[n]) then
    mark, header = nil, nil
  end

  local retain_until = 0
  local refused = kind ~= 'remove' and header and is_newer(header, head, tail)
  if kind == 'fill' then
    local seen = tonumber(ARGV[at + 3])
    -- Without a control key Redis has lost what happened since the fence was read, and a mark
    -- above the last one is from before such a loss.
    refused = refused or not known[n] or seen > lasts[n] or (mark or floors[n]) > seen
    if header and not refused then
      -- The fence of what is replaced must be remembered as long as it would have been.
      local left = redis.call('PTTL', key)
      left = left < 0 and retention or math.min(left, retention)
      life = string.format('%.0f', math.max(tonumber(life), left))
      retain_until = tonumber(ARGV[3]) + left
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

  if kind ~= 'fill' then
    told = told + 1
    marks[told] = NONE
  end
  if refused then
    answers[i] = '-'
  else
    local fence = pack_mark(mark)
    if kind ~= 'fill' then
      if not reserved then
        reserve(wanted_in_all)
        reserved = true
      end
      marks[told] = fence
    end
    local record = head .. fence .. struct.pack('>I2', sum_of(fence)) .. tail
    redis.call('SET', key, record, 'PX', life)
    if kind == 'put' or kind == 'fill' then
      if kind == 'put' then
        retain_until = tonumber(ARGV[3]) + retention
      end
      local was_value = header and string.byte(header, 2) % 32 == 1
      track(key, string.byte(head, 2), #record, mark_at(tail, 31), retain_until, was_value)
    else
      untrack(key)
    end
    answers[i] = '+'
  end
end
if reserved then
  tell('key', ARGV[first + changes * FIELDS + 1], table.concat(marks), 'cache')
end
for n = 1, namespaces do
  -- Of a seed that was not saved there is nothing to remember.
  answers[changes + n] = pack_mark((known[n] or wanted[n] > 0) and lasts[n] or 0)
end
if evict(64, 0, 0) then
  answers[#answers + 1] = '>'
end
return table.concat(answers)
