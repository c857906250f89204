/**
 * Finds a connection pooler that gives its clients another session of the server for each transaction (PgBouncer in transaction
 * mode): the session locks that elect the writer would be lost in it.
 *
 * A pooler answers with a process id of its own. It is allowed if each client session has a fixed session on the server: the
 * first client session keeps its backend while a second one has a transaction open.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { CannotOpenError } from '../errors.ts'
import type { PostgresAddress } from './address.ts'
import { Session } from './session.ts'

const BACKEND = 'SELECT pg_backend_pid()'
/** A pool of one session is exhausted, so the query waits. */
const WAIT_MS = 3000

/** @throws CannotOpenError */
export async function assertNotPooled(
  session: Session,
  address: PostgresAddress,
  name: string,
): Promise<void> {
  if (!session.isPooled) return
  const other = await Session.open(address)
  try {
    const [[before] = []] = await session.query(BACKEND)
    await other.query('BEGIN')
    await other.query(BACKEND)
    const again = await Promise.race([session.query(BACKEND), sleep(WAIT_MS, [])])
    if (before === again[0]?.[0]) return
  } finally {
    other.close()
  }
  throw new CannotOpenError(
    `${name} is behind a connection pooler that changes sessions between transactions (PgBouncer's pool_mode = transaction): ` +
      'connect to PostgreSQL itself, or set pool_mode = session',
    { code: 'server-unfit', path: name },
  )
}
