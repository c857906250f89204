/** The locks of a writer's session, and its epoch. */
import { setTimeout as sleep } from 'node:timers/promises'
import { CannotOpenError, LockedError } from '../errors.ts'
import { isForbidden } from './postgres-errors.ts'
import {
  COMMIT_LOCK,
  EPOCH_CLASS,
  LOCK_CLASS,
  upgradeFunctions,
  upgradeSchema,
  WRITER_LOCK,
} from './schema.ts'
import { contentOf } from './content.ts'
import type { Session } from './session.ts'
import { bigintOf } from './values.ts'

/** How long a new writer waits for the lock of a closing session before it reports that the database is in use. */
const TAKE_MS = 3000
const TAKE_POLL_MS = 50

const TRY_LOCK = `SELECT pg_try_advisory_lock(${LOCK_CLASS}, ${WRITER_LOCK})`
const TRY_LOCK_SHARED = `SELECT pg_try_advisory_lock_shared(${LOCK_CLASS}, ${WRITER_LOCK})`
const TRY_LOCK_EPOCH = `SELECT pg_try_advisory_lock(${EPOCH_CLASS}, $1::integer)`
export const UNLOCK = 'SELECT pg_advisory_unlock_all()'
export const NEWEST_WRITER = `
  SELECT epoch, purpose, to_char(opened AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM zblkfs.writer ORDER BY epoch DESC LIMIT 1`
const FENCE_OTHERS =
  'UPDATE zblkfs.writer SET fenced = true WHERE NOT fenced AND epoch < (SELECT max(epoch) FROM zblkfs.writer)'
const TAKE_LEASE =
  'UPDATE zblkfs.lease SET epoch = (SELECT max(epoch) FROM zblkfs.writer), grants = grants + 1'
/** Gives the lease of an epoch to the next writer that waits for it. */
export const RELEASE_LEASE = 'SELECT zblkfs.release_lease($1)'
/** Number of rows kept in `writer`. */
const WRITERS_KEPT = 100

export async function hasLock(session: Session, isShared: boolean): Promise<boolean> {
  const [[isTaken] = []] = await session.query(isShared ? TRY_LOCK_SHARED : TRY_LOCK)
  return isTaken === 't'
}

export async function hasEpochLock(session: Session, epoch: bigint): Promise<boolean> {
  const [[isTaken] = []] = await session.query(TRY_LOCK_EPOCH, [epoch])
  return isTaken === 't'
}

async function inUse(session: Session, name: string): Promise<LockedError> {
  const [[, purpose, opened] = []] = await session.query(NEWEST_WRITER)
  return new LockedError(name, purpose === undefined ? 'another writer' : `${purpose}, since ${opened} UTC`)
}

/** Upgrades a database of an earlier format while no writer has it open. @throws LockedError, CannotOpenError */
export async function upgradeAlone(session: Session, name: string): Promise<void> {
  if (session.facts.isStandby) return
  await lockWriters(session, name, false)
  try {
    const content = await contentOf(session, name)
    if (content.kind === 'ours' && content.isEarlier) await upgradeSchema(session)
  } catch (error) {
    await session.query('ROLLBACK')
    if (!isForbidden(error)) throw error
    throw new CannotOpenError(
      `${name} has an earlier format: let its owner mount it once, and grant the other users INSERT, UPDATE and DELETE on all tables again`,
      { code: 'server-forbids', path: name, cause: error },
    )
  } finally {
    await session.query(UNLOCK)
  }
}

/** Replaces functions of an earlier version, which work as well but may have faults. A user who does not own them cannot. */
export async function upgradeEarlierFunctions(
  session: Session,
  name: string,
  report: (message: string) => void,
): Promise<void> {
  if (session.facts.isStandby) return
  try {
    await upgradeFunctions(session)
  } catch (error) {
    await session.query('ROLLBACK')
    if (!isForbidden(error)) throw error
    report(`the functions of ${name} on its server are of an earlier version: let its owner mount it once`)
  }
}

export interface WriterAbout {
  readonly purpose: string
  /** An epoch that must not be used again. */
  readonly after: number
}

/** A new epoch. A writer that is alone fences every earlier one, and takes the lease. */
export async function nextEpoch(
  session: Session,
  { purpose, after }: WriterAbout,
  isShared: boolean,
): Promise<bigint> {
  const answers = await Promise.all([
    session.query('BEGIN'),
    session.query(`SELECT pg_advisory_xact_lock(${LOCK_CLASS}, ${COMMIT_LOCK})`),
    session.query(
      `INSERT INTO zblkfs.writer (epoch, fenced, purpose)
       SELECT greatest(max(epoch), $2::bigint) + 1, false, $1 FROM zblkfs.writer RETURNING epoch`,
      [purpose, after],
    ),
    ...(isShared ? [] : [session.query(FENCE_OTHERS), session.query(TAKE_LEASE)]),
    session.query(
      `DELETE FROM zblkfs.writer WHERE epoch < (SELECT max(epoch) FROM zblkfs.writer) - ${WRITERS_KEPT}
         AND unfinished IS NULL AND (fenced OR heartbeat < now() - interval '1 day')`,
    ),
    session.query('COMMIT'),
  ])
  return bigintOf(answers[2]?.[0]?.[0])
}

/** Waits for the lock of writers. @throws LockedError */
export async function lockWriters(session: Session, name: string, isShared: boolean): Promise<void> {
  for (const start = performance.now(); !(await hasLock(session, isShared));) {
    if (performance.now() - start > TAKE_MS) throw await inUse(session, name)
    await sleep(TAKE_POLL_MS)
  }
}
