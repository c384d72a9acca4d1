-- The tables and functions of the backend postgresql:, version 1, in a schema of their own.
-- Names of apps, streams and records are UTF-8 in bytea, which sorts like code points and may hold NUL.
-- The functions end in the version: processes of an older Restive go on beside newer ones.

CREATE SCHEMA IF NOT EXISTS restive;

CREATE TABLE restive.about (version int NOT NULL);

-- A hint that a crash has lost is made good by LOST: these two need no log, and are empty after a crash.
-- "heard" is the number of the last announcement of an app. Its row is locked from the moment a number is
-- taken until it can be read, so numbers have no gaps and none is read before a lower one.
CREATE UNLOGGED TABLE restive.apps (
    app bytea PRIMARY KEY,
    heard bigint NOT NULL
) WITH (fillfactor = 50);

CREATE UNLOGGED TABLE restive.announcements (
    app bytea NOT NULL,
    number bigint NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (app, number)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- "first" items were dropped, those before "swept" are deleted; a mark is random, and in each item of one
-- append: an offset that names it fits no item that another history has put in its place.
CREATE TABLE restive.streams (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app bytea NOT NULL,
    name bytea NOT NULL,
    epoch text NOT NULL,
    first bigint NOT NULL DEFAULT 0,
    first_mark int NOT NULL DEFAULT 0,
    swept bigint NOT NULL DEFAULT 0,
    length bigint NOT NULL DEFAULT 0,
    mark int NOT NULL DEFAULT 0,
    closed boolean NOT NULL DEFAULT false,
    UNIQUE (app, name)
) WITH (fillfactor = 50);

CREATE TABLE restive.items (
    stream bigint NOT NULL,
    position bigint NOT NULL,
    mark int NOT NULL,
    item bytea NOT NULL,
    PRIMARY KEY (stream, position)
);

-- Streams that are gone and whose items are still to be deleted.
CREATE TABLE restive.dropped (stream bigint PRIMARY KEY);

CREATE TABLE restive.records (
    app bytea NOT NULL,
    name bytea NOT NULL,
    version bigint NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (app, name)
);

-- Microseconds since 1970: what is numbered by them goes on above all numbers of a store that was wiped.
CREATE FUNCTION restive.now_1() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

CREATE FUNCTION restive.offset_1(
    epoch text, "position" bigint, mark int
) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT epoch || '_' || lpad("position"::text, 16, '0') || lpad(to_hex(mark), 8, '0')
$$;

-- The new version; "expected" is the current one, 0 for "there is none" and -1 for "whatever is there".
CREATE FUNCTION restive.save_1(
    of_app bytea, of_name bytea, of_value bytea, expected bigint, fresh bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    given bigint;
BEGIN
    IF expected = -1 THEN
        INSERT INTO restive.records AS r VALUES (of_app, of_name, fresh, of_value)
            ON CONFLICT (app, name) DO UPDATE
            SET value = excluded.value, version = greatest(r.version + 1, fresh) RETURNING version INTO given;
    ELSIF expected = 0 THEN
        INSERT INTO restive.records VALUES (of_app, of_name, fresh, of_value)
            ON CONFLICT DO NOTHING RETURNING version INTO given;
    ELSE
        UPDATE restive.records SET value = of_value, version = greatest(version + 1, fresh)
            WHERE app = of_app AND name = of_name AND version = expected RETURNING version INTO given;
    END IF;
    IF given IS NULL THEN
        RAISE SQLSTATE 'RS001';
    END IF;
    RETURN given;
END $$;

-- The new end; "expected" is the end now, '' for "there is no such stream" and '*' for "wherever it is".
CREATE FUNCTION restive.append_1(
    of_app bytea, of_name bytea, given bytea[], expected text, ends boolean, keep bigint, new_mark int
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    more int := cardinality(given);
    s restive.streams;
BEGIN
    UPDATE restive.streams x
        SET length = x.length + more, mark = CASE more WHEN 0 THEN x.mark ELSE new_mark END, closed = ends
        WHERE x.app = of_app AND x.name = of_name AND NOT x.closed
            AND (expected = '*' OR expected = restive.offset_1(x.epoch, x.length, x.mark))
        RETURNING * INTO s;
    IF NOT FOUND THEN
        PERFORM 1 FROM restive.streams x WHERE x.app = of_app AND x.name = of_name;
        IF FOUND OR expected NOT IN ('', '*') THEN
            RAISE SQLSTATE 'RS001';
        END IF;
        INSERT INTO restive.streams (app, name, epoch, length, mark, closed) VALUES (
            of_app, of_name, substr(replace(gen_random_uuid()::text, '-', ''), 17),
            more, CASE more WHEN 0 THEN 0 ELSE new_mark END, ends) RETURNING * INTO s;
    END IF;
    IF more = 1 THEN
        INSERT INTO restive.items VALUES (s.id, s.length - 1, new_mark, given[1]);
    ELSIF more > 1 THEN
        INSERT INTO restive.items SELECT s.id, s.length - more + u.n - 1, new_mark, u.item
            FROM unnest(given) WITH ORDINALITY AS u (item, n);
    END IF;
    IF s.swept < s.first OR (keep > 0 AND s.length - s.first > keep + least(keep / 8, 256)) THEN
        PERFORM restive.trim_1(s.id, greatest(s.first, s.length - CASE keep WHEN 0 THEN s.length ELSE keep END));
    END IF;
    RETURN restive.offset_1(s.epoch, s.length, s.mark);
END $$;

-- Drops all items before a position, and deletes up to 5000 of those that were dropped.
CREATE FUNCTION restive.trim_1(of_stream bigint, new_first bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    new_swept bigint;
BEGIN
    UPDATE restive.streams x
        SET first = new_first, swept = least(new_first, x.swept + 5000), first_mark = CASE new_first
            WHEN x.first THEN x.first_mark
            ELSE (SELECT i.mark FROM restive.items i WHERE i.stream = of_stream AND i.position = new_first - 1) END
        WHERE x.id = of_stream RETURNING x.swept INTO new_swept;
    DELETE FROM restive.items WHERE stream = of_stream AND position < new_swept;
END $$;

-- Deletes up to 5000 items of a stream that was dropped; whether there may be more.
CREATE FUNCTION restive.sweep_1() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    gone bigint;
    deleted int;
BEGIN
    SELECT stream INTO gone FROM restive.dropped LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM restive.items WHERE stream = gone AND position IN (
        SELECT position FROM restive.items WHERE stream = gone ORDER BY position LIMIT 5000);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF deleted < 5000 THEN
        DELETE FROM restive.dropped WHERE stream = gone;
    END IF;
    RETURN true;
END $$;

-- 'later' where the stream is too long to delete its items at once: sweep_1 does.
CREATE FUNCTION restive.drop_1(of_app bytea, of_name bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s restive.streams;
BEGIN
    DELETE FROM restive.streams WHERE app = of_app AND name = of_name RETURNING * INTO s;
    IF s.length - s.swept > 1000 THEN
        INSERT INTO restive.dropped VALUES (s.id);
        RETURN 'later';
    END IF;
    DELETE FROM restive.items WHERE stream = s.id;
    RETURN NULL;
END $$;

CREATE FUNCTION restive.announce_1(
    of_app bytea, channel text, payloads bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    more int := cardinality(payloads);
    last bigint;
BEGIN
    INSERT INTO restive.apps AS a VALUES (of_app, restive.now_1() + more)
        ON CONFLICT (app) DO UPDATE SET heard = a.heard + more RETURNING heard INTO last;
    INSERT INTO restive.announcements
        SELECT of_app, last - more + u.n, u.payload FROM unnest(payloads) WITH ORDINALITY AS u (payload, n);
    IF last / 256 <> (last - more) / 256 THEN
        DELETE FROM restive.announcements WHERE app = of_app AND number <= last - 10000;
    END IF;
    PERFORM pg_notify(channel, last::text);
END $$;

-- Does batches of steps in one transaction: what each step returned, and for each batch the step that found
-- a Conflict, or 0; it undoes that batch and no other. A step is a kind (1 save, 2 delete, 3 append, 4 drop,
-- 5 announce), a name, a number (the version; how many to keep), a text (the expected end), a flag (closes)
-- and some of the blobs. Names are locked by their buckets, in order, so that nobody waits in a circle; the
-- row of the app is locked last, since everyone who announces needs it.
CREATE FUNCTION restive.apply_1(
    of_app bytea, channel text, durable boolean, buckets bigint[], new_mark int, sizes bigint[],
    kinds bigint[], names bytea[], numbers bigint[], texts text[], flags bigint[], starts bigint[],
    blobs bytea[],
    OUT results text[], OUT conflicts bigint[]
) LANGUAGE plpgsql SET lock_timeout = '1500ms' AS $$
DECLARE
    bucket bigint;
    size bigint;
    step bigint := 0;
    behind bigint := 0;
    fresh bigint := 0;
    said bytea[] := '{}';
    said_before bytea[];
BEGIN
    results := array_fill(NULL::text, ARRAY[cardinality(kinds)]);
    conflicts := '{}';
    IF NOT durable THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    FOREACH bucket IN ARRAY buckets LOOP
        PERFORM pg_advisory_xact_lock(1383298166, bucket::int);
    END LOOP;
    FOREACH size IN ARRAY sizes LOOP
        step := behind;
        behind := behind + size;
        said_before := said;
        BEGIN
            WHILE step < behind LOOP
                step := step + 1;
                CASE kinds[step]
                    WHEN 1 THEN
                        fresh := greatest(fresh + 1, restive.now_1());
                        results[step] := restive.save_1(
                            of_app, names[step], blobs[starts[step]], numbers[step], fresh);
                    WHEN 2 THEN
                        DELETE FROM restive.records WHERE app = of_app AND name = names[step]
                            AND numbers[step] IN (version, -1);
                        -- As with a save, 0 stands for a record that is not there.
                        IF NOT FOUND AND (numbers[step] > 0 OR numbers[step] = 0 AND EXISTS (
                            SELECT FROM restive.records WHERE app = of_app AND name = names[step]
                        )) THEN
                            RAISE SQLSTATE 'RS001';
                        END IF;
                    WHEN 3 THEN
                        results[step] := restive.append_1(
                            of_app, names[step], blobs[starts[step] : starts[step + 1] - 1],
                            texts[step], flags[step] = 1, numbers[step], new_mark);
                    WHEN 4 THEN
                        results[step] := restive.drop_1(of_app, names[step]);
                    WHEN 5 THEN
                        said := said || blobs[starts[step]];
                END CASE;
            END LOOP;
            conflicts := conflicts || 0::bigint;
        EXCEPTION WHEN SQLSTATE 'RS001' THEN
            conflicts := conflicts || step;
            said := said_before;
        END;
    END LOOP;
    IF cardinality(said) > 0 THEN
        PERFORM restive.announce_1(of_app, channel, said);
    END IF;
END $$;

-- A page of a stream from a position on, of 4 MiB at most or one item; no row where there is no such stream.
-- The first row has the stream itself: epoch, first, first_mark, length, mark, closed, and the mark of the
-- item before the position, where it is there. The others have an item each, with its mark.
CREATE FUNCTION restive.read_1(of_app bytea, of_name bytea, start bigint, most bigint) RETURNS TABLE (
    head text, mark int, item bytea
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    s restive.streams;
BEGIN
    SELECT x.* INTO s FROM restive.streams x WHERE x.app = of_app AND x.name = of_name;
    IF FOUND THEN
        RETURN QUERY SELECT concat_ws(' ', s.epoch, s.first, s.first_mark, s.length, s.mark, s.closed::int, (
            SELECT i.mark FROM restive.items i WHERE i.stream = s.id AND i.position = start - 1
            )), NULL::int, NULL::bytea;
        RETURN QUERY SELECT NULL, p.mark, p.item FROM (
            SELECT i.position, i.mark, i.item,
                sum(octet_length(i.item)) OVER (ORDER BY i.position ROWS UNBOUNDED PRECEDING) AS upto
                FROM restive.items i WHERE i.stream = s.id AND i.position >= greatest(start, s.first)
                ORDER BY i.position LIMIT most) p
            WHERE p.upto <= 4194304 OR p.position = greatest(start, s.first);
    END IF;
END $$;

-- The number of the last announcement of an app, in a row without a payload, and those behind a number, some
-- MiB of them at most.
CREATE FUNCTION restive.heard_1(of_app bytea, after bigint) RETURNS TABLE (
    number bigint, payload bytea
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT x.heard, NULL::bytea FROM restive.apps x WHERE x.app = of_app;
    RETURN QUERY SELECT p.number, p.payload FROM (
        SELECT a.number, a.payload,
            sum(octet_length(a.payload)) OVER (ORDER BY a.number ROWS UNBOUNDED PRECEDING) AS upto
            FROM restive.announcements a WHERE a.app = of_app AND a.number > after
            ORDER BY a.number LIMIT 1000) p
        WHERE p.upto - octet_length(p.payload) < 4194304;
END $$;

INSERT INTO restive.about VALUES (1);
