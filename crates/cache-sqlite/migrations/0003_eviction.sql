-- What may be evicted, and in which order.
--
-- `priority` is 0 low, 1 normal, 2 high, 3 pinned, and nothing in a row without a value: so the
-- triggers below see a value come and go without reading it. It stands before `record`, which has
-- to come last, and therefore the table is made anew.
--
-- A row whose value comes back, and, by most policies, one that is written again, gets a new `id`
-- above all others: so the order of the ids is the order in which values came, the order of the
-- file, and the cheapest order to evict in, as whole pages become empty.
CREATE TABLE entries_anew (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    fence INTEGER NOT NULL,
    version INTEGER,
    expires_at INTEGER NOT NULL,
    retain_until INTEGER NOT NULL,
    priority INTEGER DEFAULT 1,
    record BLOB
) STRICT;

INSERT INTO entries_anew (id, key, fence, version, expires_at, retain_until, priority, record)
SELECT id, key, fence, version, expires_at, retain_until,
    CASE WHEN record IS NOT NULL THEN 1 END, record
FROM entries ORDER BY id;

DROP TABLE entries;
ALTER TABLE entries_anew RENAME TO entries;

CREATE INDEX entries_by_deadline ON entries (expires_at) WHERE record IS NOT NULL;
CREATE INDEX entries_by_retention ON entries (retain_until) WHERE record IS NULL;

-- Values of another priority than the usual one. In most files it is empty.
CREATE INDEX entries_by_priority ON entries (priority, id) WHERE priority <> 1;

-- Reads of values, as far as they were noted: some of them, some time later. A value that was
-- never read has no row.
CREATE TABLE notes (
    id INTEGER PRIMARY KEY,
    reads INTEGER NOT NULL,
    last_read INTEGER NOT NULL
) STRICT;

-- How many values there are, how many bytes the pinned ones have, and how many were evicted since the file was made, by the bound that
-- asked for it. In one row.
CREATE TABLE totals (
    entries INTEGER NOT NULL,
    pinned_bytes INTEGER NOT NULL,
    evicted_for_bytes INTEGER NOT NULL,
    evicted_for_entries INTEGER NOT NULL,
    evicted_for_pressure INTEGER NOT NULL
) STRICT;

INSERT INTO totals SELECT count(priority), 0, 0, 0, 0 FROM entries;

CREATE TRIGGER value_came AFTER INSERT ON entries WHEN NEW.priority IS NOT NULL
BEGIN
    UPDATE totals SET entries = entries + 1,
        pinned_bytes = pinned_bytes + iif(NEW.priority = 3, length(NEW.record), 0);
END;

CREATE TRIGGER value_changed AFTER UPDATE OF priority ON entries
WHEN (OLD.priority IS NULL) <> (NEW.priority IS NULL)
BEGIN
    UPDATE totals SET entries = entries + (NEW.priority IS NOT NULL) - (OLD.priority IS NOT NULL);
    DELETE FROM notes WHERE id = OLD.id;
END;

CREATE TRIGGER pinned_changed AFTER UPDATE OF priority ON entries
WHEN OLD.priority = 3 OR NEW.priority = 3
BEGIN
    UPDATE totals SET pinned_bytes = pinned_bytes
        + iif(NEW.priority = 3, length(NEW.record), 0)
        - iif(OLD.priority = 3, length(OLD.record), 0);
END;

CREATE TRIGGER value_moved AFTER UPDATE OF id ON entries WHEN OLD.id <> NEW.id
BEGIN
    UPDATE OR REPLACE notes SET id = NEW.id WHERE id = OLD.id;
END;

CREATE TRIGGER row_went AFTER DELETE ON entries
BEGIN
    UPDATE totals SET entries = entries - (OLD.priority IS NOT NULL),
        pinned_bytes = pinned_bytes - iif(OLD.priority = 3, length(OLD.record), 0);
    DELETE FROM notes WHERE id = OLD.id;
END;
