-- A key is `namespace:text`, so the keys of one namespace are one range of `key`: a cleared
-- namespace is swept along that range, and no column repeats its name in every row.
--
-- `fence` is the mark of the last insert, removal or clear that the row remembers, `version` the
-- source's version as a signed number of the same order. Moments are milliseconds since the Unix
-- epoch. `record` comes last, so that a look at the other columns never follows a large value's
-- chain of pages; nothing in it means a removal, or a value that gave its room up while its fence
-- must still be remembered.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    fence INTEGER NOT NULL,
    version INTEGER,
    expires_at INTEGER NOT NULL,
    retain_until INTEGER NOT NULL,
    record BLOB
) STRICT;

-- Values by deadline.
CREATE INDEX entries_by_deadline ON entries (expires_at) WHERE record IS NOT NULL;

-- Rows that are only remembered, by how long they have to be.
CREATE INDEX entries_by_retention ON entries (retain_until) WHERE record IS NULL;

-- `floor` is the mark of the last clear: rows with a smaller fence are dead. `sweep_from` is the
-- key after which dead rows may still be found; nothing, when there are none.
CREATE TABLE namespaces (
    namespace TEXT NOT NULL PRIMARY KEY,
    floor INTEGER NOT NULL,
    retain_until INTEGER NOT NULL,
    sweep_from BLOB
) STRICT, WITHOUT ROWID;

-- The last mark that was given out, in one row.
CREATE TABLE marks (last INTEGER NOT NULL) STRICT;

INSERT INTO marks (last) VALUES (0);
