/**
 * One session on a server. Statements are pipelined: sent without waiting for earlier answers, and answered
 * in order. Values arrive as text: pg does not support binary results.
 */
import { checkServerIdentity, type ConnectionOptions } from 'node:tls'
import { readFileSync } from '../os-files.ts'
import { hostname } from 'node:os'
import { Client, type Notification } from 'pg'
import { CannotOpenError, messageOf } from '../errors.ts'
import type { PostgresAddress } from './address.ts'
import { passwordFor } from './password.ts'
import { ConnectionLostError, endsSession } from './postgres-errors.ts'

/** A row, its values as text. */
export type Cells = readonly (string | null)[]

export type Value = string | number | bigint | boolean | Uint8Array | null

/** Properties of the session's server. */
export interface ServerFacts {
  /** For example 150018. */
  readonly version: number
  /** Whether it is a read-only standby. */
  readonly isStandby: boolean
  /** Its start time, which changes with a restart. */
  readonly started: string
}

const CONNECT_TIMEOUT_MS = 10_000
/** Maximum time to wait for an answer before the connection is closed. */
const ANSWER_TIMEOUT_MS = 60_000
const KEEP_ALIVE_MS = 10_000

/** Settings that every session requires, overriding those of the server and the user. */
const SETTINGS = [
  "SET search_path = 'pg_catalog'",
  'SET bytea_output = hex',
  'SET default_transaction_isolation = "read committed"',
  'SET default_transaction_read_only = off',
  'SET statement_timeout = 0',
  'SET lock_timeout = 0',
  'SET idle_in_transaction_session_timeout = 0',
  'SET idle_session_timeout = 0',
  'SET jit = off',
  'SET max_parallel_workers_per_gather = 0',
  // The best plan hardly depends on the values, and planning costs more than running most statements.
  'SET plan_cache_mode = force_generic_plan',
  // Otherwise a crash of the server would lose commits that it has confirmed, and the lease would go back to an earlier holder.
  "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
].join('; ')
/** Without these the server detects a dead client machine only after two hours. Some platforms refuse them. */
const KEEP_ALIVES = [
  'SET tcp_keepalives_idle = 10',
  'SET tcp_keepalives_interval = 5',
  'SET tcp_keepalives_count = 3',
  'SET client_connection_check_interval = 2000',
].join('; ')
const FACTS = `SELECT current_setting('server_version_num'), pg_is_in_recovery(), pg_postmaster_start_time()::text, pg_backend_pid()`
const VERSION = "SELECT current_setting('server_version_num')"
/** PostgreSQL 14, which introduced the settings above. */
const VERSION_MIN = 140_000

const asText = { getTypeParser: () => (value: string) => value }

export class Session {
  readonly #client: Client
  #facts: ServerFacts = { version: 0, isStandby: false, started: '' }
  #backendPid = 0
  #lost: ConnectionLostError | undefined
  #isEnding = false
  /** Called once, when the session is over and {@link Session.close} was not called. */
  onLost: ((error: ConnectionLostError) => void) | undefined
  onNotification: ((payload: string) => void) | undefined

  private constructor(client: Client) {
    this.#client = client
    client.on('error', error => this.#lose(error))
    client.on('end', () => this.#lose(new Error('the server closed the connection')))
    client.on('notification', ({ payload }: Notification) => this.onNotification?.(payload ?? ''))
  }

  /** @throws CannotOpenError for a server that is too old; what pg and the system report. */
  static async open(address: PostgresAddress): Promise<Session> {
    if (address.sslMode !== 'prefer' || address.host.startsWith('/'))
      return await Session.#connect(address, tlsFor(address))
    try {
      return await Session.#connect(address, tlsFor(address))
    } catch (error) {
      if (!(error instanceof Error) || !error.message.includes('does not support SSL')) throw error
      return await Session.#connect(address, false)
    }
  }

  static async #connect(address: PostgresAddress, tls: ConnectionOptions | false): Promise<Session> {
    const { host, port, user, database } = address
    const client = new Client({
      host,
      port,
      user,
      database,
      // A function prevents pg's own search for a password, which would print a warning.
      password: () => passwordFor(address) ?? '',
      ssl: tls,
      application_name: `zblkfs on ${hostname()}`,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      types: asText,
      pipeline: true,
    })
    const session = new Session(client)
    try {
      await client.connect()
      await session.#setUp()
      return session
    } catch (error) {
      session.close()
      throw error
    }
  }

  get facts(): ServerFacts {
    return this.#facts
  }

  /** Whether an intermediary, such as a connection pooler, answers for the server. */
  get isPooled(): boolean {
    const { processID } = this.#client as unknown as { readonly processID: number | null }
    return processID !== this.#backendPid
  }

  get isLost(): boolean {
    return this.#lost !== undefined
  }

  /**
   * Sends a statement; resolves to its rows.
   * @param name names the statement, which is then planned once in a session.
   * @throws ConnectionLostError; DatabaseError
   */
  async query(text: string, values: readonly Value[] = [], name?: string): Promise<readonly Cells[]> {
    return (await this.#send(text, values, name, ANSWER_TIMEOUT_MS)).rows as Cells[]
  }

  /** As {@link Session.query}, without a time limit. */
  async run(text: string): Promise<readonly Cells[]> {
    return (await this.#send(text, [], undefined, 0)).rows as Cells[]
  }

  /** Ends a transaction. @returns whether it was committed: after an error the server rolls back instead. */
  async commit(): Promise<boolean> {
    return (await this.#send('COMMIT', [], undefined, ANSWER_TIMEOUT_MS)).command === 'COMMIT'
  }

  close(): void {
    this.#isEnding = true
    this.#lost ??= new ConnectionLostError('it was closed', undefined)
    // The server may be unreachable: do not wait for its answer.
    this.#client.end().catch(() => undefined)
  }

  async #send(
    text: string,
    values: readonly Value[],
    name: string | undefined,
    timeoutMs: number,
  ): Promise<{ readonly rows: readonly unknown[]; readonly command: string }> {
    if (this.#lost !== undefined) throw this.#lost
    try {
      return await this.#client.query({
        text,
        values: [...values],
        rowMode: 'array',
        ...(name !== undefined && { name: `zblkfs_${name}` }),
        ...(timeoutMs > 0 && { query_timeout: timeoutMs }),
      })
    } catch (error) {
      if (this.#lost !== undefined) throw this.#lost
      if (!endsSession(error)) throw error
      this.#lose(error)
      throw this.#lost ?? error
    }
  }

  async #setUp(): Promise<void> {
    const [[version] = []] = await this.query(VERSION)
    if (Number(version) < VERSION_MIN)
      throw new CannotOpenError(
        `the server has PostgreSQL ${Math.floor(Number(version) / 10_000)}: zblkfs needs ${VERSION_MIN / 10_000} or later`,
        { code: 'server-unfit' },
      )
    const [, [facts = []]] = await Promise.all([
      this.query(SETTINGS),
      this.query(FACTS),
      this.query(KEEP_ALIVES).catch((error: unknown) => {
        if (this.isLost) throw error
        return []
      }),
    ])
    this.#facts = { version: Number(facts[0]), isStandby: facts[1] === 't', started: facts[2] ?? '' }
    this.#backendPid = Number(facts[3])
  }

  #lose(cause: unknown): void {
    if (this.#lost !== undefined) return
    const message = messageOf(cause)
    this.#lost = new ConnectionLostError(message, cause)
    if (this.#isEnding) return
    this.#client.end().catch(() => undefined)
    this.onLost?.(this.#lost)
  }
}

/** TLS options; false: no TLS. */
function tlsFor({ host, sslMode, sslRootCert }: PostgresAddress): ConnectionOptions | false {
  if (sslMode === 'disable' || host.startsWith('/')) return false
  if (sslMode === 'prefer' || (sslMode === 'require' && sslRootCert === undefined))
    return { rejectUnauthorized: false }
  return {
    rejectUnauthorized: true,
    ...(sslRootCert !== undefined && { ca: readFileSync(sslRootCert) }),
    // The other modes accept any host name in a certificate of a trusted issuer.
    checkServerIdentity: sslMode === 'verify-full' ? checkServerIdentity : () => undefined,
  }
}
