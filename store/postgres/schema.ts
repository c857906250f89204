/**
 * The format of a database on a PostgreSQL server: the schema `zblkfs` of a database. Numbers are as in a SQLite
 * database (docs/format.md); integers that hold checksums have their 32 bits, with a sign.
 *
 * | table      | a row is                                                                                               |
 * |------------|--------------------------------------------------------------------------------------------------------|
 * | `meta`     | by name, a short text: `format` and `id` of the database, and notes of packs and repairs;              |
 * |            | `bulk` is the S3 URL of the bucket, if there is one                                                     |
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
 *
 * One transaction of the server holds all additions of one zblkfs transaction. Before COMMIT it takes the lock of the
 * order of commits, so transactions become visible in tid order and readers always see a prefix. Advisory locks, which are local to the database:
 *
 * | key                         | held                  | means                                                  |
 * |-----------------------------|-----------------------|--------------------------------------------------------|
 * | ({@link LOCK_CLASS}, 1)     | by a session          | it writes the database                                 |
 * | ({@link LOCK_CLASS}, 2)     | to the end of a commit| tids are given, and writers are fenced, one at a time  |
 * | a tid, shared               | by a session          | it reads this moment: a pack keeps it                  |
 */
import { CannotOpenError } from '../errors.ts'
import { otherFormat } from '../other-format.ts'
import { isForbidden, isMissing } from './postgres-errors.ts'
import type { Session } from './session.ts'

/** The revision of this format. 1: the first. 2: segments in a bucket. 3: the counter of a writer. */
export const FORMAT_VERSION = 3

/** The first key of zblkfs's advisory locks: "zblk". */
export const LOCK_CLASS = 0x7a_62_6c_6b
export const WRITER_LOCK = 1
export const COMMIT_LOCK = 2

/** The channel of NOTIFY: the payload is the tid of a transaction. */
export const CHANNEL = 'zblkfs'

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

const FUNCTIONS = `
  -- Waits for other commits. Fails if the writer may store nothing any more.
  CREATE FUNCTION zblkfs.begin_change(p_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock(${LOCK_CLASS}, ${COMMIT_LOCK});
    IF NOT EXISTS (SELECT FROM zblkfs.writer WHERE epoch = p_epoch AND NOT fenced) THEN
      RAISE EXCEPTION 'writer % is fenced', p_epoch USING ERRCODE = '${FENCED}';
    END IF;
  END $$;

  CREATE FUNCTION zblkfs.add_revisions(
    p_tid bigint, p_oids bigint[], p_sums integer[], p_heads bytea[], p_pos bigint[], p_lens bigint[], p_tails bytea[]
  ) RETURNS void LANGUAGE sql AS $$
    INSERT INTO zblkfs.revision (oid, tid, pos, len, sum, head, tail)
    SELECT oid, p_tid, pos, len, sum, head, tail
    FROM unnest(p_oids, p_sums, p_heads, p_pos, p_lens, p_tails) AS r (oid, sum, head, pos, len, tail)
  $$;

  -- Adds a transaction. No object of p_checked may have a revision later than its base.
  CREATE FUNCTION zblkfs.add_transaction(
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

/** The tids of unfinished transactions in parts. */
export const UNFINISHED = 'SELECT unfinished FROM zblkfs.writer WHERE unfinished IS NOT NULL'

/** A zblkfs database. */
export interface OurContent {
  readonly kind: 'ours'
  readonly id: string
  /** The S3 URL of the place for bulk bytes; undefined: they are in rows. */
  readonly bulk: string | undefined
}

/** The content of a server's database. */
export type Content =
  | OurContent
  /** No tables. */
  | { readonly kind: 'empty' }
  /** Tables of another program, without a zblkfs database. */
  | { readonly kind: 'foreign'; readonly example: string }

/** @throws CannotOpenError for tables of another program, or of a later format. */
export async function contentOf(session: Session, name: string): Promise<Content> {
  const [[schema] = []] = await session.query("SELECT to_regnamespace('zblkfs')::text")
  if (schema === null) {
    const [[example] = []] = await session.query(
      `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v') AND n.nspname !~ '^pg_|^information_schema$'
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
       ORDER BY 1 LIMIT 1`,
    )
    return typeof example === 'string' ? { kind: 'foreign', example } : { kind: 'empty' }
  }
  const meta = await metaOf(session, name)
  const format = meta.get('format')
  const id = meta.get('id')
  if (format === undefined || id === undefined || !/^\d+$/.test(format))
    throw new CannotOpenError(
      `${name} has a schema 'zblkfs' that is not one of zblkfs: use another database`,
      {
        code: 'not-a-database',
        path: name,
      },
    )
  if (Number(format) !== FORMAT_VERSION) throw otherFormat(name, Number(format), FORMAT_VERSION)
  return { kind: 'ours', id, bulk: meta.get('bulk') }
}

async function metaOf(session: Session, name: string): Promise<ReadonlyMap<string, string>> {
  try {
    const rows = await session.query(
      "SELECT name, value FROM zblkfs.meta WHERE name IN ('format', 'id', 'bulk')",
    )
    return new Map(rows.map(([key, value]) => [key ?? '', value ?? '']))
  } catch (error) {
    if (isMissing(error)) return new Map()
    if (!isForbidden(error)) throw error
    throw new CannotOpenError(
      `the user may not read ${name}: grant it with ` +
        "'GRANT USAGE ON SCHEMA zblkfs TO USER; GRANT SELECT ON ALL TABLES IN SCHEMA zblkfs TO USER'",
      { code: 'server-forbids', path: name, cause: error },
    )
  }
}

/**
 * Creates a zblkfs database in an empty server database, atomically.
 * @param id 32 hex digits. @param bulk a canonical S3 URL, undefined: bulk bytes are in rows.
 */
export async function createSchema(session: Session, id: string, bulk: string | undefined): Promise<void> {
  const notes = [
    ['format', String(FORMAT_VERSION)],
    ['id', id],
    ...(bulk === undefined ? [] : [['bulk', bulk]]),
  ]
  const values = notes.map(([name, value]) => `('${name}', '${value}')`).join(', ')
  await session.query(
    `BEGIN; CREATE SCHEMA zblkfs; ${TABLES} ${FUNCTIONS}
     INSERT INTO zblkfs.meta (name, value) VALUES ${values}; COMMIT`,
  )
}
