/**
 * The tables and functions for locks of files among all mounts (`-o locks=global`). They are made when a database is first mounted with this
 * option.
 *
 * | table            | a row is                                                                                           |
 * |------------------|----------------------------------------------------------------------------------------------------|
 * | `file_lock`      | a lock: `start` to `last` of the file `oid`. It is valid while its epoch is not fenced             |
 * | `file_lock_wait` | a lock of fcntl(2) that its owner waits for, by which deadlocks are detected                       |
 *
 * `kind` is 0 for fcntl(2), 1 for flock(2). `owner` is the kernel's number of the owner on its machine. All functions run one at a time
 * ({@link FILE_LOCKS_LOCK}).
 */
import { COMMIT_LOCK, FENCED, LEASE_CHANNEL, LOCK_CLASS } from './schema.ts'

/** The second key of the advisory lock of these functions. */
const FILE_LOCKS_LOCK = 3

export const HAS_FILE_LOCKS = "SELECT to_regclass('zblkfs.file_lock_wait') IS NOT NULL"
/** Whether the user may use them. */
export const MAY_LOCK_FILES =
  "SELECT has_table_privilege('zblkfs.file_lock', 'INSERT') AND has_table_privilege('zblkfs.file_lock_wait', 'INSERT')"

/** Whether the lock `l` conflicts with the requested one. */
const CONFLICTS = `l.oid = p_oid AND l.kind = p_kind AND (l.epoch, l.owner) <> (p_epoch, p_owner)
      AND l.start <= p_last AND p_start <= l.last AND (l.exclusive OR p_exclusive)`

/** Deletes what ended writers have left about files that nothing locks any more. */
export const DROP_ENDED_FILE_LOCKS = ['file_lock', 'file_lock_wait']
  .map(
    table =>
      `DELETE FROM zblkfs.${table} AS l
       WHERE NOT EXISTS (SELECT FROM zblkfs.writer AS w WHERE w.epoch = l.epoch AND NOT w.fenced)`,
  )
  .join('; ')

export const FILE_LOCKS = `
  CREATE TABLE zblkfs.file_lock (
    oid bigint NOT NULL,
    kind smallint NOT NULL,
    epoch bigint NOT NULL,
    owner bigint NOT NULL,
    start bigint NOT NULL,
    last bigint NOT NULL,
    exclusive boolean NOT NULL,
    pid integer NOT NULL
  );
  CREATE INDEX file_lock_by_oid ON zblkfs.file_lock (oid, kind);

  CREATE TABLE zblkfs.file_lock_wait (
    epoch bigint NOT NULL,
    owner bigint NOT NULL,
    oid bigint NOT NULL,
    start bigint NOT NULL,
    last bigint NOT NULL,
    exclusive boolean NOT NULL,
    PRIMARY KEY (epoch, owner)
  );

  -- The rights on them are those on the lease.
  DO $$
  DECLARE
    v_grantee text;
  BEGIN
    FOR v_grantee IN
      SELECT DISTINCT grantee FROM information_schema.role_table_grants
      WHERE table_schema = 'zblkfs' AND table_name = 'lease' AND privilege_type = 'UPDATE'
    LOOP
      EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE ON zblkfs.file_lock, zblkfs.file_lock_wait TO '
        || CASE v_grantee WHEN 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(v_grantee) END;
    END LOOP;
  END $$;

  -- Fences a writer that is gone, as lock_lease does. Returns whether it was.
  CREATE FUNCTION zblkfs.fence_gone(p_epoch bigint) RETURNS boolean LANGUAGE plpgsql AS $$
  BEGIN
    IF NOT zblkfs.is_gone(p_epoch) THEN
      RETURN false;
    END IF;
    PERFORM FROM zblkfs.lease FOR UPDATE;
    PERFORM pg_advisory_xact_lock(${LOCK_CLASS}, ${COMMIT_LOCK});
    PERFORM FROM zblkfs.writer WHERE epoch = p_epoch FOR UPDATE;
    IF NOT zblkfs.is_gone(p_epoch) THEN
      RETURN false;
    END IF;
    UPDATE zblkfs.writer SET fenced = true WHERE epoch = p_epoch;
    UPDATE zblkfs.lease SET epoch = NULL, grants = grants + 1 WHERE epoch = p_epoch;
    RETURN true;
  END $$;

  -- Fences writers that are gone and have conflicting locks. Drops all locks of the file whose writers are fenced.
  CREATE FUNCTION zblkfs.clear_file_locks(
    p_epoch bigint, p_owner bigint, p_oid bigint, p_kind smallint, p_start bigint, p_last bigint, p_exclusive boolean
  ) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE
    v_epoch bigint;
  BEGIN
    FOR v_epoch IN SELECT DISTINCT l.epoch FROM zblkfs.file_lock AS l WHERE ${CONFLICTS} LOOP
      PERFORM zblkfs.fence_gone(v_epoch);
    END LOOP;
    DELETE FROM zblkfs.file_lock AS l WHERE l.oid = p_oid AND l.epoch <> p_epoch
      AND NOT EXISTS (SELECT FROM zblkfs.writer AS w WHERE w.epoch = l.epoch AND NOT w.fenced);
  END $$;

  -- Removes what an owner has in a range of a file.
  CREATE FUNCTION zblkfs.drop_file_locks(
    p_epoch bigint, p_owner bigint, p_oid bigint, p_kind smallint, p_start bigint, p_last bigint
  ) RETURNS boolean LANGUAGE plpgsql AS $$
  DECLARE
    v_lock zblkfs.file_lock;
    v_found boolean := false;
  BEGIN
    FOR v_lock IN
      DELETE FROM zblkfs.file_lock AS l
      WHERE l.oid = p_oid AND l.kind = p_kind AND l.epoch = p_epoch AND l.owner = p_owner
        AND l.start <= p_last AND p_start <= l.last
      RETURNING l.*
    LOOP
      v_found := true;
      IF v_lock.start < p_start THEN
        INSERT INTO zblkfs.file_lock VALUES (p_oid, p_kind, p_epoch, p_owner, v_lock.start, p_start - 1, v_lock.exclusive, v_lock.pid);
      END IF;
      IF v_lock.last > p_last THEN
        INSERT INTO zblkfs.file_lock VALUES (p_oid, p_kind, p_epoch, p_owner, p_last + 1, v_lock.last, v_lock.exclusive, v_lock.pid);
      END IF;
    END LOOP;
    RETURN v_found;
  END $$;

  -- Takes a lock. Returns 'locked', 'busy', or 'deadlock' if it would wait for itself.
  CREATE FUNCTION zblkfs.lock_file(
    p_epoch bigint, p_owner bigint, p_oid bigint, p_kind smallint, p_start bigint, p_last bigint,
    p_exclusive boolean, p_pid integer, p_waits boolean
  ) RETURNS text LANGUAGE plpgsql AS $$
  DECLARE
    v_dropped boolean;
    v_start bigint := p_start;
    v_last bigint := p_last;
    v_lock zblkfs.file_lock;
  BEGIN
    PERFORM pg_advisory_xact_lock(${LOCK_CLASS}, ${FILE_LOCKS_LOCK});
    IF NOT EXISTS (SELECT FROM zblkfs.writer WHERE epoch = p_epoch AND NOT fenced) THEN
      RAISE EXCEPTION 'writer % is fenced', p_epoch USING ERRCODE = '${FENCED}';
    END IF;
    PERFORM zblkfs.clear_file_locks(p_epoch, p_owner, p_oid, p_kind, p_start, p_last, p_exclusive);
    DELETE FROM zblkfs.file_lock_wait WHERE epoch = p_epoch AND owner = p_owner;
    IF EXISTS (SELECT FROM zblkfs.file_lock AS l WHERE ${CONFLICTS}) THEN
      IF NOT p_waits OR p_kind <> 0 THEN
        RETURN 'busy';
      END IF;
      IF EXISTS (
        WITH RECURSIVE blocking (epoch, owner) AS (
          SELECT l.epoch, l.owner FROM zblkfs.file_lock AS l WHERE ${CONFLICTS}
          UNION
          SELECT l.epoch, l.owner FROM blocking AS b
          JOIN zblkfs.file_lock_wait AS w ON w.epoch = b.epoch AND w.owner = b.owner
          JOIN zblkfs.file_lock AS l ON l.oid = w.oid AND l.kind = 0 AND (l.epoch, l.owner) <> (w.epoch, w.owner)
            AND l.start <= w.last AND w.start <= l.last AND (l.exclusive OR w.exclusive)
        )
        SELECT FROM blocking WHERE epoch = p_epoch AND owner = p_owner
      ) THEN
        RETURN 'deadlock';
      END IF;
      INSERT INTO zblkfs.file_lock_wait VALUES (p_epoch, p_owner, p_oid, p_start, p_last, p_exclusive);
      RETURN 'busy';
    END IF;
    v_dropped := zblkfs.drop_file_locks(p_epoch, p_owner, p_oid, p_kind, p_start, p_last);
    -- Neighbours of the same kind become one lock.
    FOR v_lock IN
      DELETE FROM zblkfs.file_lock AS l
      WHERE l.oid = p_oid AND l.kind = p_kind AND l.epoch = p_epoch AND l.owner = p_owner AND l.exclusive = p_exclusive
        AND (l.last = p_start - 1 OR (p_last < 9223372036854775807 AND l.start = p_last + 1))
      RETURNING l.*
    LOOP
      v_start := least(v_start, v_lock.start);
      v_last := greatest(v_last, v_lock.last);
    END LOOP;
    INSERT INTO zblkfs.file_lock VALUES (p_oid, p_kind, p_epoch, p_owner, v_start, v_last, p_exclusive, p_pid);
    IF v_dropped AND NOT p_exclusive THEN
      PERFORM pg_notify('${LEASE_CHANNEL}', 'unlocked ' || p_oid);
    END IF;
    RETURN 'locked';
  END $$;

  CREATE FUNCTION zblkfs.unlock_file(
    p_epoch bigint, p_owner bigint, p_oid bigint, p_kind smallint, p_start bigint, p_last bigint
  ) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock(${LOCK_CLASS}, ${FILE_LOCKS_LOCK});
    DELETE FROM zblkfs.file_lock_wait WHERE epoch = p_epoch AND owner = p_owner;
    IF zblkfs.drop_file_locks(p_epoch, p_owner, p_oid, p_kind, p_start, p_last) THEN
      PERFORM pg_notify('${LEASE_CHANNEL}', 'unlocked ' || p_oid);
    END IF;
  END $$;

  -- A lock that conflicts with another.
  CREATE FUNCTION zblkfs.test_file_lock(
    p_epoch bigint, p_owner bigint, p_oid bigint, p_kind smallint, p_start bigint, p_last bigint, p_exclusive boolean
  ) RETURNS SETOF zblkfs.file_lock LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock(${LOCK_CLASS}, ${FILE_LOCKS_LOCK});
    PERFORM zblkfs.clear_file_locks(p_epoch, p_owner, p_oid, p_kind, p_start, p_last, p_exclusive);
    RETURN QUERY SELECT l.* FROM zblkfs.file_lock AS l WHERE ${CONFLICTS} ORDER BY l.start LIMIT 1;
  END $$;
`
