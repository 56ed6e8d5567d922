-- The log: what was removed, inserted or cleared, for the processes that keep copies. A row is
-- written by the statement that makes the change, so the two are committed together or not at all.
--
-- Readers go by commits and not by an order of rows: a position is a snapshot, and what follows it
-- is what it did not see yet. So a transaction that began first and commits last is not missed,
-- and one that stays open holds nothing up.
CREATE TABLE notices (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    change smallint NOT NULL,                    -- 1 a key, 2 a namespace, 3 a sign of life
    author smallint NOT NULL,                    -- 0 a cache, 1 a program by SQL
    mark bigint NOT NULL,                        -- the fence or the floor that was set
    at bigint NULL,                              -- milliseconds since 1970; SQL has no clock here
    digest bytea NULL,                           -- of an insert: the checksum of its record
    name bytea NOT NULL                          -- the encoded key, or the escaped namespace
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX notices_xid ON notices (xid);

-- The past of the log, by which it is kept short. A notice is deleted when a snapshot that is old
-- enough has seen it: so its time counts from its commit, however long its transaction was.
CREATE TABLE notice_snapshots (
    at bigint PRIMARY KEY,                       -- milliseconds since 1970
    snapshot pg_snapshot NOT NULL
);

-- One row: when some process last shortened the log, and the snapshot up to which it is gone.
-- Whoever reads from before it has missed something.
CREATE TABLE notice_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    trimmed_at bigint NOT NULL,                  -- milliseconds since 1970
    trimmed pg_snapshot NULL
);
INSERT INTO notice_state (trimmed_at) VALUES (0);

-- Which life of the database this is. A crash may take back commits that did not wait for the
-- disk, and give their numbers to other transactions, so that old positions mean nothing. It also
-- empties this table, because it is unlogged; so does a failover and a restored backup, and a dump
-- comes to another system.
CREATE UNLOGGED TABLE lives (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id uuid NOT NULL,
    system bigint NOT NULL                       -- the server's own number
);

-- Begins another life when there is none, or one of another system. What the log knew of the past
-- does not count any more; notices whose numbers are still to come here are told once again.
CREATE FUNCTION begin_life() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    present bigint := (SELECT c.system_identifier FROM pg_control_system() AS c);
BEGIN
    IF EXISTS (SELECT FROM lives AS l WHERE l.system = present) THEN
        RETURN;
    END IF;
    INSERT INTO lives (id, system) VALUES (gen_random_uuid(), present)
    ON CONFLICT (one) DO UPDATE SET id = EXCLUDED.id, system = EXCLUDED.system;
    DELETE FROM notice_snapshots;
    UPDATE notice_state SET trimmed = NULL;
    UPDATE notices SET xid = pg_current_xact_id() WHERE xid >= pg_current_xact_id();
END
$$;

-- Who loads a key. Unlogged: a crash costs a load that is done twice, and no wrong value.
CREATE UNLOGGED TABLE leases (
    key bytea PRIMARY KEY,
    token bigint NOT NULL,
    ends_at bigint NOT NULL                      -- milliseconds since 1970
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- What the functions below were asked for by transactions that are under way. Nobody ever sees a
-- row of another transaction, and none is left after a commit.
CREATE UNLOGGED TABLE requests (
    xid xid8 DEFAULT pg_current_xact_id(),
    change smallint,
    name bytea,
    PRIMARY KEY (xid, change, name)
);

-- Does what a transaction asked for, at its commit and all at once. A removal locks its row, for
-- which fills of that key, and whatever travels with them, have to wait: at the commit that is a
-- moment, and all transactions do it in the order of the names and so never in a ring. Fires for
-- each request; the first one does the work.
--
-- A tombstone is to be remembered for a time, and only a cache has the clock for that: the one
-- that deletes the notice says until when (cache_postgres::sql::STAMP_LATER).
CREATE FUNCTION carry_out() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM requests AS r
        WHERE r.xid = NEW.xid AND r.change = NEW.change AND r.name = NEW.name
    ) THEN
        RETURN NULL;
    END IF;

    WITH asked AS (
        DELETE FROM requests AS r WHERE r.xid = NEW.xid AND r.change = 2 RETURNING r.name
    ), done AS (
        INSERT INTO namespaces AS n (namespace, floor)
        SELECT convert_from(a.name, 'UTF8'), nextval('fence_marks')
        FROM (SELECT asked.name FROM asked ORDER BY asked.name) AS a
        ON CONFLICT (namespace) DO UPDATE SET floor = nextval('fence_marks')
        RETURNING n.namespace, n.floor
    )
    INSERT INTO notices (change, author, mark, name)
    SELECT 2, 1, d.floor, convert_to(d.namespace, 'UTF8') FROM done AS d;

    WITH asked AS (
        DELETE FROM requests AS r WHERE r.xid = NEW.xid AND r.change = 1 RETURNING r.name
    ), done AS (
        INSERT INTO entries AS e
            (key, namespace, fence, version, expires_at, retain_until, record)
        SELECT a.name,
            convert_from(substr(a.name, 1, position('\x3a'::bytea IN a.name) - 1), 'UTF8'),
            nextval('fence_marks'), NULL, 0, 9223372036854775807, NULL
        FROM (SELECT asked.name FROM asked ORDER BY asked.name) AS a
        ON CONFLICT (key) DO UPDATE SET
            fence = nextval('fence_marks'),
            version = CASE WHEN e.fence >= COALESCE(
                (SELECT n.floor FROM namespaces AS n WHERE n.namespace = e.namespace), 0)
                THEN e.version END,
            expires_at = EXCLUDED.expires_at, retain_until = EXCLUDED.retain_until, record = NULL
        RETURNING e.key, e.fence
    )
    INSERT INTO notices (change, author, mark, name)
    SELECT 1, 1, d.fence, d.key FROM done AS d;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER carry_out AFTER INSERT ON requests
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION carry_out();

-- Raises what cache_core::Key answers for a name that is empty, too long or unprintable.
CREATE FUNCTION checked(what text, name text, len_max integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    len integer := octet_length(convert_to(name, 'UTF8'));
BEGIN
    IF name IS NULL OR name = '' THEN
        RAISE EXCEPTION 'the % is empty', what USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF len > len_max THEN
        RAISE EXCEPTION 'the % is % bytes long, and at most % are allowed', what, len, len_max
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF name ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        RAISE EXCEPTION 'the % holds a control character', what
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN name;
END
$$;

-- The escaped name of a namespace, as cache_core::Namespace::new makes it.
CREATE FUNCTION escaped(namespace text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    bytes bytea := convert_to(checked('namespace', namespace, 64), 'UTF8');
BEGIN
    RETURN (
        SELECT string_agg(
            CASE WHEN chr(b.byte) COLLATE "C" ~ '[A-Za-z0-9._-]' AND b.byte < 128
                THEN chr(b.byte) ELSE '%' || lpad(upper(to_hex(b.byte)), 2, '0') END,
            '' ORDER BY b.at)
        FROM (SELECT at, get_byte(bytes, at) AS byte
            FROM generate_series(0, length(bytes) - 1) AS at) AS b
    );
END
$$;

-- Checks an encoded key, `namespace:text`, as cache_core::Key::from_encoded does.
CREATE FUNCTION checked_key(encoded text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    separator integer := position(':' IN COALESCE(encoded, ''));
    namespace text := left(encoded, separator - 1);
BEGIN
    IF separator = 0 THEN
        RAISE EXCEPTION '`%` is not an encoded key', encoded
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'write `namespace:key`, or hand namespace and key over as two arguments';
    END IF;
    IF checked('namespace', namespace, 256) COLLATE "C" !~ '^[A-Za-z0-9._%~-]+$' THEN
        RAISE EXCEPTION '`%` is not the escaped name of a namespace', namespace
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'hand namespace and key over as two arguments';
    END IF;
    PERFORM checked('key', substr(encoded, separator + 1), 512);
    RETURN encoded;
END
$$;

-- What programs call, within their own transactions: it takes effect with their commit, and not
-- at all with their rollback. Whoever may use the schema may call them; they act with the rights
-- of the role that made the tables, so that nobody else needs any on these.

-- Removes many keys, given in their encoded form.
CREATE FUNCTION invalidate_many(keys text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO requests (change, name)
    SELECT 1, convert_to(checked_key(k.key), 'UTF8') FROM unnest(keys) AS k (key)
    ON CONFLICT DO NOTHING
$$;

-- Removes many keys of one namespace.
CREATE FUNCTION invalidate_many(namespace text, keys text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO requests (change, name)
    SELECT 1, convert_to(n.name || ':' || checked('key', k.key, 512), 'UTF8')
    FROM (SELECT escaped(namespace) AS name OFFSET 0) AS n CROSS JOIN unnest(keys) AS k (key)
    ON CONFLICT DO NOTHING
$$;

-- Removes a key, given in its encoded form.
CREATE FUNCTION invalidate(key text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT invalidate_many(ARRAY[key])
$$;

-- Removes a key.
CREATE FUNCTION invalidate(namespace text, key text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT invalidate_many(namespace, ARRAY[key])
$$;

-- Gives a tag of a namespace a new generation: its present one is an ordinary entry, which goes. So
-- does the one that tells loads under way of every change of a tag.
CREATE FUNCTION invalidate_tag(namespace text, tag text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT invalidate_many(ARRAY[
        escaped(namespace) || '~tags:' || checked('tag', tag, 128),
        escaped(namespace) || '~tagged:horizon'
    ])
$$;

-- Removes everything of a namespace, at the cost of one row.
CREATE FUNCTION invalidate_namespace(namespace text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO requests (change, name) SELECT 2, convert_to(escaped(namespace), 'UTF8')
    ON CONFLICT DO NOTHING
$$;
