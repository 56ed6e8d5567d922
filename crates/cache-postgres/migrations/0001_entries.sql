-- The marks that fences are made of. None is ever given twice; the bound is cache_core's
-- Fence::MARK_MAX.
CREATE SEQUENCE fence_marks AS bigint MAXVALUE 9007199254740991;

-- When a namespace was last cleared: entries with a smaller fence are dead. No row: never.
CREATE TABLE namespaces (
    namespace text COLLATE "C" PRIMARY KEY,
    floor bigint NOT NULL
);

-- No index but the primary key's, and room left in each page: so an update stays in its page and
-- touches no index (a HOT update), 99.9 times in 100. One index on a column that changes would
-- make that 0.
CREATE TABLE entries (
    key bytea PRIMARY KEY,                       -- `namespace:text`, in UTF-8
    namespace text COLLATE "C" NOT NULL,
    fence bigint NOT NULL,                       -- authoritative: the one in the record is 0
    version bigint NULL,                         -- signed, of the same order as the source's
    expires_at bigint NOT NULL,                  -- milliseconds since 1970
    retain_until bigint NOT NULL,                -- until then the fence must be remembered
    record bytea NULL                            -- cache_core::wire; NULL: a tombstone
) WITH (
    fillfactor = 80,
    -- Rows are rewritten all the time: clean up at 5 % instead of 20 %.
    autovacuum_vacuum_scale_factor = 0.05
);

-- Large records go out of line as they are. Compressing is left to a codec or a layer above, which
-- does it once and not at every read.
ALTER TABLE entries ALTER COLUMN record SET STORAGE EXTERNAL;

-- One row: when some process last began to sweep, so that not every process does.
CREATE TABLE sweeps (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    started_at bigint NOT NULL                   -- milliseconds since 1970
);
INSERT INTO sweeps (started_at) VALUES (0);
