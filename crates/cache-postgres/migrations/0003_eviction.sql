-- What eviction goes by. No index has any of it, so that an update of a row still stays in its page.
-- The evictor reads the table, as the sweeper does, once for all that has to go.
ALTER TABLE entries
    -- When the value came, in milliseconds since 1970; one that is written again keeps it or not, by
    -- the policy.
    ADD COLUMN arrived bigint NOT NULL DEFAULT 0,
    ADD COLUMN priority smallint NOT NULL DEFAULT 1;  -- 0 low, 1 normal, 2 high, 3 pinned

-- Values that lie out of line leave dead rows there.
ALTER TABLE entries SET (toast.autovacuum_vacuum_scale_factor = 0.05);

-- Reads of values, as far as they were noted: some of them, some time later. A table of its own: a
-- note in the entry's row would write the value anew. Unlogged: a crash costs the notes only.
CREATE UNLOGGED TABLE reads (
    key bytea PRIMARY KEY,
    reads bigint NOT NULL,
    last_read bigint NOT NULL                    -- milliseconds since 1970
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- One row: how much there is, as far as it is known. `written` only grows, by what was put, in steps
-- of a hundredth of the bound; the other numbers are of the last time that the table was read.
CREATE TABLE totals (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    written_bytes bigint NOT NULL DEFAULT 0,
    written_rows bigint NOT NULL DEFAULT 0,
    read_at bigint NOT NULL DEFAULT 0,           -- milliseconds since 1970; 0: never
    read_bytes bigint NOT NULL DEFAULT 0,        -- the sizes of what there was then
    read_rows bigint NOT NULL DEFAULT 0,         -- values that there were then
    written_bytes_then bigint NOT NULL DEFAULT 0,
    written_rows_then bigint NOT NULL DEFAULT 0,
    evicted_for_bytes bigint NOT NULL DEFAULT 0,
    evicted_for_entries bigint NOT NULL DEFAULT 0,
    evicted_for_pressure bigint NOT NULL DEFAULT 0,
    claimed_at bigint NOT NULL DEFAULT 0         -- when some process began to evict; 0: none does
) WITH (fillfactor = 10);
INSERT INTO totals DEFAULT VALUES;
