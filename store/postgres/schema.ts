/**
 * The format of a database on a PostgreSQL server: the schema `zblkfs` of a database. Numbers are as in a SQLite
 * database (docs/format.md); integers that hold checksums have their 32 bits, with a sign.
 *
 * | table      | a row is                                                                                               |
 * |------------|--------------------------------------------------------------------------------------------------------|
 * | `meta`     | by name, a short text: `format` and `id` of the database, and notes of packs and repairs;              |
 * |            | `bulk` is the S3 URL of the bucket, if there is one; `functions` is {@link FUNCTIONS_VERSION}            |
 * | `writer`   | a process that opened the database for writing, by its epoch: a later one has a larger one. If         |
 * |            | `fenced` is true it cannot store anything more. `unfinished` is the tid of revisions that belong to a  |
 * |            | transaction which it is writing in parts: no reader of another moment sees them. `counter` is the       |
 * |            | highest counter of its segments that this state of the database knows of                                |
 * | `txn`      | a transaction. `commit_id` is chosen by the client: a COMMIT whose answer was lost is looked up by it   |
 * | `revision` | an object's state from `tid` on: `head + bulk[pos, pos + len) + tail`; `head` is NULL for a tombstone,  |
 * |            | a deleted object; `pos` is NULL if there are no bulk bytes                                      |
 * | `bulk`     | whole units of bulk bytes (frame.ts) from `pos` on, and the 8-byte checksum of each                    |
 * | `segment`  | an object in a bucket (store/s3/segment.ts), by the epoch and the counter in its key: its length, that of its units, and its table |
 * |            | of frames. `released` is the time since which no extent names it: then it will be deleted              |
 * | `extent`   | the segment that has the units of `[pos, pos + len)`; those of other positions are in `bulk`            |
 * | `lease`    | one row: the epoch that may commit, NULL if none may. `grants` counts its changes                       |
 * | `lease_waiter` | an epoch that waits for the lease, in the order of `since`                                          |
 *
 * One transaction of the server holds all additions of one zblkfs transaction. Before COMMIT it takes the lock of the
 * order of commits, so transactions become visible in tid order and readers always see a prefix. Advisory locks, which are local to the database:
 *
 * | key                         | held                  | means                                                  |
 * |-----------------------------|-----------------------|--------------------------------------------------------|
 * | ({@link LOCK_CLASS}, 1)     | by a session          | it writes the database; shared: beside other writers   |
 * | ({@link EPOCH_CLASS}, epoch) | by a session         | it is the session of this writer                       |
 * | ({@link LOCK_CLASS}, 2)     | to the end of a commit| tids are given, and writers are fenced, one at a time  |
 * | a tid, shared               | by a session          | it reads this moment: a pack keeps it                  |
 */
import { ENCRYPTION } from '../encryption/key-slots.ts'
import type { Session } from './session.ts'

/**
 * The revision of this format. 1: the first. 2: segments in a bucket. 3: the counter of a writer. 4: a lease, for several writers.
 */
export const FORMAT_VERSION = 4
/** A database of this revision or a later one can be read; opening it for writing upgrades it. */
export const FORMAT_UPGRADED_MIN = 2
/**
 * The number of the functions below. A database with a lower one gets these when it is opened for writing, perhaps while writers of earlier
 * versions have it open: each function accepts and returns what it did before. 2: the first that is recorded in `meta`.
 */
export const FUNCTIONS_VERSION = 2
/** The format of an encrypted database: its own number, so that a version that does not know encryption refuses it. */
export const ENCRYPTED_FORMAT = 5

/** The first key of zblkfs's advisory locks: "zblk". */
export const LOCK_CLASS = 0x7a_62_6c_6b
/** The first key of the locks of writers' sessions: "zble". */
export const EPOCH_CLASS = 0x7a_62_6c_65
export const WRITER_LOCK = 1
export const COMMIT_LOCK = 2

/** The channel of NOTIFY: the payload is the tid of a transaction. */
export const CHANNEL = 'zblkfs'
/**
 * The channel about the lease. The payload is `recall EPOCH`, or `free EPOCH GRANTS ISWANTED`: the epoch that holds it from now on, 0 for
 * none, the number of changes of the lease, and whether another writer waits for it ('t'). Functions of earlier versions send
 * `free EPOCH`. `unlocked OID` says that a lock of a file was released (file-lock-schema.ts).
 */
export const LEASE_CHANNEL = 'zblkfs_lease'

/** A writer without a heartbeat for this long is gone; one whose session has ended as well is gone sooner. */
const GONE_MS = 8000
const GONE_WITHOUT_SESSION_MS = 3000
/** After a restart of the server no writer is gone for this long, as all of them have to reconnect. */
const RESTARTED_MS = 6000

/** Errors that the functions raise. */
export const FENCED = 'ZB001'
export const TID_TOO_OLD = 'ZB002'
export const CONFLICT = 'ZB003'

/** Disables compression of TOASTed values, so that a part of one can be read without the rest. */
const TABLES = `
  CREATE TABLE zblkfs.meta (
    name text PRIMARY KEY,
    value text NOT NULL
  );

  CREATE TABLE zblkfs.writer (
    epoch bigint PRIMARY KEY,
    fenced boolean NOT NULL,
    unfinished bigint,
    counter bigint NOT NULL DEFAULT 0,
    opened timestamptz NOT NULL DEFAULT now(),
    heartbeat timestamptz NOT NULL DEFAULT now(),
    purpose text NOT NULL
  );

  CREATE TABLE zblkfs.txn (
    tid bigint PRIMARY KEY,
    objects bigint NOT NULL,
    bytes bigint NOT NULL,
    next_oid bigint NOT NULL,
    bulk_end bigint NOT NULL,
    stored bigint NOT NULL,
    epoch bigint NOT NULL,
    commit_id uuid NOT NULL,
    sum integer NOT NULL,
    author bytea NOT NULL,
    description bytea NOT NULL,
    extension bytea NOT NULL
  );

  CREATE TABLE zblkfs.revision (
    oid bigint NOT NULL,
    tid bigint NOT NULL,
    pos bigint,
    len bigint NOT NULL,
    sum integer NOT NULL,
    head bytea,
    tail bytea
  );
  CREATE UNIQUE INDEX revision_by_oid ON zblkfs.revision (oid, tid DESC);
  CREATE INDEX revision_by_tid ON zblkfs.revision (tid, oid);

  CREATE TABLE zblkfs.bulk (
    pos bigint PRIMARY KEY,
    sums bytea NOT NULL,
    units bytea NOT NULL
  );
  ALTER TABLE zblkfs.bulk ALTER sums SET STORAGE MAIN, ALTER units SET STORAGE EXTERNAL;

  CREATE TABLE zblkfs.segment (
    epoch bigint NOT NULL,
    counter bigint NOT NULL,
    bytes bigint NOT NULL,
    units bigint NOT NULL,
    frames bytea NOT NULL,
    released timestamptz,
    PRIMARY KEY (epoch, counter)
  );
  CREATE INDEX segment_released ON zblkfs.segment (released) WHERE released IS NOT NULL;

  CREATE TABLE zblkfs.extent (
    pos bigint PRIMARY KEY,
    len bigint NOT NULL,
    epoch bigint NOT NULL,
    counter bigint NOT NULL
  );
  CREATE INDEX extent_by_segment ON zblkfs.extent (epoch, counter);
`

const LEASE_TABLES = `
  CREATE TABLE zblkfs.lease (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    epoch bigint,
    grants bigint NOT NULL DEFAULT 0
  );
  INSERT INTO zblkfs.lease DEFAULT VALUES;
  CREATE TABLE zblkfs.lease_waiter (
    epoch bigint PRIMARY KEY,
    since bigint GENERATED ALWAYS AS IDENTITY
  );
`

const CHANGE_FUNCTIONS = `
  -- Waits for other commits. Fails if the writer may store nothing any more.
  CREATE OR REPLACE FUNCTION zblkfs.begin_change(p_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock(${LOCK_CLASS}, ${COMMIT_LOCK});
    IF NOT EXISTS (SELECT FROM zblkfs.writer WHERE epoch = p_epoch AND NOT fenced) THEN
      RAISE EXCEPTION 'writer % is fenced', p_epoch USING ERRCODE = '${FENCED}';
    END IF;
  END $$;

  CREATE OR REPLACE FUNCTION zblkfs.add_revisions(
    p_tid bigint, p_oids bigint[], p_sums integer[], p_heads bytea[], p_pos bigint[], p_lens bigint[], p_tails bytea[]
  ) RETURNS void LANGUAGE sql AS $$
    INSERT INTO zblkfs.revision (oid, tid, pos, len, sum, head, tail)
    SELECT oid, p_tid, pos, len, sum, head, tail
    FROM unnest(p_oids, p_sums, p_heads, p_pos, p_lens, p_tails) AS r (oid, sum, head, pos, len, tail)
  $$;

`

const ADD_TRANSACTION = `
  -- Adds a transaction of the writer that has the lease. No object of p_checked may have a revision later than its base.
  CREATE OR REPLACE FUNCTION zblkfs.add_transaction(
    p_epoch bigint, p_tid bigint, p_commit_id uuid, p_author bytea, p_description bytea, p_extension bytea,
    p_objects bigint, p_bytes bigint, p_next_oid bigint, p_bulk_end bigint, p_stored bigint, p_sum integer,
    p_checked bigint[], p_bases bigint[]
  ) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE
    last bigint;
    found_oid bigint;
    found_base bigint;
    found_tid bigint;
  BEGIN
    PERFORM zblkfs.begin_change(p_epoch);
    IF EXISTS (SELECT FROM zblkfs.lease WHERE epoch IS DISTINCT FROM p_epoch) THEN
      RAISE EXCEPTION 'writer % does not hold the lease', p_epoch USING ERRCODE = '${FENCED}';
    END IF;
    SELECT max(tid) INTO last FROM zblkfs.txn;
    IF p_tid <= last THEN
      RAISE EXCEPTION 'transaction % is not later than %', p_tid, last USING ERRCODE = '${TID_TOO_OLD}', DETAIL = last;
    END IF;
    SELECT c.oid, c.base, r.tid INTO found_oid, found_base, found_tid
    FROM unnest(p_checked, p_bases) AS c (oid, base)
    CROSS JOIN LATERAL (
      SELECT tid FROM zblkfs.revision WHERE oid = c.oid AND tid < p_tid ORDER BY tid DESC LIMIT 1
    ) AS r
    WHERE r.tid > c.base LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'object % has changed', found_oid
        USING ERRCODE = '${CONFLICT}', DETAIL = concat_ws(' ', found_oid, found_base, found_tid);
    END IF;
    INSERT INTO zblkfs.txn (tid, objects, bytes, next_oid, bulk_end, stored, epoch, commit_id, sum, author, description, extension)
    VALUES (p_tid, p_objects, p_bytes, p_next_oid, p_bulk_end, p_stored, p_epoch, p_commit_id, p_sum, p_author, p_description, p_extension);
    UPDATE zblkfs.writer SET unfinished = NULL WHERE epoch = p_epoch AND unfinished IS NOT NULL;
    PERFORM pg_notify('${CHANNEL}', p_tid::text);
  END $$;
`

const LEASE_FUNCTIONS = `
  -- Whether a writer can be fenced: its session has ended, or it has not sent a heartbeat for a while.
  CREATE OR REPLACE FUNCTION zblkfs.is_gone(p_epoch bigint) RETURNS boolean LANGUAGE sql AS $$
    SELECT NOT EXISTS (
      SELECT FROM zblkfs.writer AS w WHERE w.epoch = p_epoch AND NOT w.fenced AND (
        clock_timestamp() - pg_postmaster_start_time() < interval '${RESTARTED_MS} milliseconds'
        OR clock_timestamp() - w.heartbeat < interval '${GONE_WITHOUT_SESSION_MS} milliseconds'
        OR (clock_timestamp() - w.heartbeat < interval '${GONE_MS} milliseconds' AND EXISTS (
          SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
            AND classid = ${EPOCH_CLASS}::oid AND objid = p_epoch::oid
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ))
      )
    )
  $$;

  -- Locks the lease; frees it if its holder is gone, which is fenced then. Returns the holder, NULL if there is none.
  CREATE OR REPLACE FUNCTION zblkfs.lock_lease() RETURNS bigint LANGUAGE plpgsql AS $$
  DECLARE
    v_holder bigint;
  BEGIN
    SELECT epoch INTO v_holder FROM zblkfs.lease FOR UPDATE;
    IF v_holder IS NULL OR NOT zblkfs.is_gone(v_holder) THEN
      RETURN v_holder;
    END IF;
    PERFORM pg_advisory_xact_lock(${LOCK_CLASS}, ${COMMIT_LOCK});
    -- A heartbeat may have arrived while the lock was waited for: its sender relies on it. Later ones wait for this row.
    PERFORM FROM zblkfs.writer WHERE epoch = v_holder FOR UPDATE;
    IF NOT zblkfs.is_gone(v_holder) THEN
      RETURN v_holder;
    END IF;
    UPDATE zblkfs.writer SET fenced = true WHERE epoch = v_holder;
    UPDATE zblkfs.lease SET epoch = NULL, grants = grants + 1;
    RETURN NULL;
  END $$;

  -- Takes the lease if it is free; otherwise queues the writer and recalls the lease.
  CREATE OR REPLACE FUNCTION zblkfs.take_lease(p_epoch bigint, OUT r_holder bigint, OUT r_grants bigint, OUT r_is_wanted boolean)
  LANGUAGE plpgsql AS $$
  BEGIN
    IF NOT EXISTS (SELECT FROM zblkfs.writer WHERE epoch = p_epoch AND NOT fenced) THEN
      RAISE EXCEPTION 'writer % is fenced', p_epoch USING ERRCODE = '${FENCED}';
    END IF;
    r_holder := zblkfs.lock_lease();
    IF r_holder IS NULL THEN
      UPDATE zblkfs.lease SET epoch = p_epoch, grants = grants + 1;
      r_holder := p_epoch;
    END IF;
    IF r_holder = p_epoch THEN
      DELETE FROM zblkfs.lease_waiter WHERE epoch = p_epoch;
    ELSE
      INSERT INTO zblkfs.lease_waiter (epoch) VALUES (p_epoch) ON CONFLICT DO NOTHING;
      PERFORM pg_notify('${LEASE_CHANNEL}', 'recall ' || r_holder);
    END IF;
    SELECT grants, EXISTS (SELECT FROM zblkfs.lease_waiter WHERE epoch <> p_epoch) INTO r_grants, r_is_wanted
    FROM zblkfs.lease;
  END $$;

  -- Hands the lease to the first waiter, or frees it: then the number of its changes is returned.
  CREATE OR REPLACE FUNCTION zblkfs.release_lease(p_epoch bigint) RETURNS bigint LANGUAGE plpgsql AS $$
  DECLARE
    v_next bigint;
    v_grants bigint;
  BEGIN
    PERFORM FROM zblkfs.lease WHERE epoch = p_epoch FOR UPDATE;
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
    DELETE FROM zblkfs.lease_waiter WHERE epoch = p_epoch OR zblkfs.is_gone(epoch);
    DELETE FROM zblkfs.lease_waiter WHERE since = (SELECT min(since) FROM zblkfs.lease_waiter) RETURNING epoch INTO v_next;
    UPDATE zblkfs.lease SET epoch = v_next, grants = grants + 1 RETURNING grants INTO v_grants;
    PERFORM pg_notify(
      '${LEASE_CHANNEL}', concat_ws(' ', 'free', coalesce(v_next, 0), v_grants, EXISTS (SELECT FROM zblkfs.lease_waiter))
    );
    -- Handed on, it may come back by one change, after commits.
    RETURN CASE WHEN v_next IS NULL THEN v_grants END;
  END $$;

  -- Recalls the lease from another writer. A writer that is alone takes a free lease.
  CREATE OR REPLACE FUNCTION zblkfs.recall_lease(p_epoch bigint, OUT r_holder bigint, OUT r_grants bigint, OUT r_last bigint)
  LANGUAGE plpgsql AS $$
  BEGIN
    SELECT epoch, grants INTO r_holder, r_grants FROM zblkfs.lease;
    IF r_holder IS NOT NULL AND r_holder <> p_epoch AND zblkfs.is_gone(r_holder) THEN
      r_holder := zblkfs.lock_lease();
    END IF;
    IF r_holder IS NULL AND EXISTS (SELECT FROM zblkfs.writer WHERE epoch = p_epoch AND NOT fenced)
      AND NOT EXISTS (SELECT FROM zblkfs.writer WHERE epoch <> p_epoch AND NOT zblkfs.is_gone(epoch)) THEN
      UPDATE zblkfs.lease SET epoch = p_epoch, grants = grants + 1 WHERE epoch IS NULL RETURNING epoch INTO r_holder;
    ELSIF r_holder <> p_epoch THEN
      PERFORM pg_notify('${LEASE_CHANNEL}', 'recall ' || r_holder);
    END IF;
    SELECT grants INTO r_grants FROM zblkfs.lease;
    SELECT coalesce(max(tid), 0) INTO r_last FROM zblkfs.txn;
  END $$;
`

const FUNCTIONS = CHANGE_FUNCTIONS + ADD_TRANSACTION + LEASE_FUNCTIONS

const NOTE_FUNCTIONS = `
  INSERT INTO zblkfs.meta (name, value) VALUES ('functions', '${FUNCTIONS_VERSION}')
  ON CONFLICT (name) DO UPDATE SET value = excluded.value`

/** The tids of unfinished transactions in parts. */
export const UNFINISHED = 'SELECT unfinished FROM zblkfs.writer WHERE unfinished IS NOT NULL'

/**
 * Creates a zblkfs database in an empty server database, atomically.
 * @param id 32 hex digits. @param bulk a canonical S3 URL, undefined: bulk bytes are in rows.
 * @param keys the note of its keys, undefined: it is not encrypted.
 */
export async function createSchema(
  session: Session,
  id: string,
  bulk: string | undefined,
  keys: string | undefined,
): Promise<void> {
  const notes = [
    ['format', String(keys === undefined ? FORMAT_VERSION : ENCRYPTED_FORMAT)],
    ['id', id],
    ['functions', String(FUNCTIONS_VERSION)],
    ...(bulk === undefined ? [] : [['bulk', bulk]]),
    ...(keys === undefined ? [] : [[ENCRYPTION, keys.replaceAll("'", "''")]]),
  ]
  const values = notes.map(([name, value]) => `('${name}', '${value}')`).join(', ')
  await session.query(
    `BEGIN; CREATE SCHEMA zblkfs; ${TABLES} ${LEASE_TABLES} ${FUNCTIONS}
     INSERT INTO zblkfs.meta (name, value) VALUES ${values}; COMMIT`,
  )
}

/** Upgrades a database of an earlier format. Only while no writer has it open. @throws DatabaseError if the user does not own it. */
export async function upgradeSchema(session: Session): Promise<void> {
  await session.query(
    `BEGIN;
     ALTER TABLE zblkfs.writer ADD COLUMN IF NOT EXISTS counter bigint NOT NULL DEFAULT 0;
     UPDATE zblkfs.writer AS w SET counter = coalesce((SELECT max(counter) FROM zblkfs.segment AS s WHERE s.epoch = w.epoch), 0)
       FROM zblkfs.meta WHERE name = 'format' AND value = '2';
     ${LEASE_TABLES} ${FUNCTIONS} ${NOTE_FUNCTIONS};
     UPDATE zblkfs.meta SET value = '${FORMAT_VERSION}' WHERE name = 'format'; COMMIT`,
  )
}

/** Replaces the functions of an earlier version. @throws DatabaseError if the user does not own them. */
export async function upgradeFunctions(session: Session): Promise<void> {
  await session.query(
    `BEGIN; SELECT pg_advisory_xact_lock(${LOCK_CLASS}, ${COMMIT_LOCK}); ${FUNCTIONS} ${NOTE_FUNCTIONS}; COMMIT`,
  )
}
