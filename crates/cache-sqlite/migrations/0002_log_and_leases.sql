-- What has changed, for processes that keep copies. One connection writes at a time, so `number`
-- follows the order of the commits. The newest row is never taken out: the next number follows it.
--
-- `kind` is 0 for a sign of life, 1 for a key (`subject` is the key), 2 for a clear (`subject` is
-- the namespace). `mark` is the fence or the floor that the change has set, `digest` the checksum
-- of an entry that was inserted, `at` the moment by the clock of the process that did it.
CREATE TABLE notices (
    number INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    subject TEXT NOT NULL,
    mark INTEGER NOT NULL,
    at INTEGER NOT NULL,
    digest INTEGER NOT NULL
) STRICT;

-- Tells this file's numbers from those of a file that was in its place before, in one row.
CREATE TABLE epochs (epoch INTEGER NOT NULL) STRICT;

INSERT INTO epochs (epoch) VALUES (random());

-- Who may load a key, until when by the clock of the process that took the lease.
CREATE TABLE leases (
    key BLOB NOT NULL PRIMARY KEY,
    token INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
