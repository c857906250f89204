/**
 * A PostgreSQL server of the tests' own: its data in a temporary directory, on a Unix socket alone, as a user that is not root. No
 * service of the system is touched. Where PostgreSQL is not installed its tests are skipped.
 *
 *     const { url, remove } = await makePostgresDatabase()
 *
 * The processes of one test run share a server, which the first one starts and the end of the run stops
 * (shared-server.ts). A test that stops or restarts a server starts one for itself.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { serverUser, startShared } from './shared-server.ts'

const run = promisify(execFile)

const USER = 'postgres'
const START_MS = 60_000
const STOP_MS = 20_000

/** Where initdb is: distributions keep it out of PATH. Undefined if it is not installed. */
function findPrograms(): string | undefined {
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : []
  const directories = [
    ...versions.map(version => join(root, version, 'bin')),
    ...(process.env['PATH'] ?? '').split(':'),
  ]
  return directories.find(
    directory => existsSync(join(directory, 'initdb')) && existsSync(join(directory, 'pg_ctl')),
  )
}

const programs = findPrograms()

export const hasPostgres = programs !== undefined

export class PostgresServer {
  readonly directory: string
  readonly #as = serverUser(USER)

  /** @param directory a new one, or that of a server that another process has started. */
  constructor(directory: string) {
    this.directory = directory
  }

  /** Makes a server and starts it; the caller removes it. */
  static async make(): Promise<PostgresServer> {
    const server = new PostgresServer(mkdtempSync(join(tmpdir(), 'zblkfs-pg-')))
    await server.initialise()
    await server.start()
    return server
  }

  async initialise(): Promise<void> {
    if (this.#as !== undefined) chownSync(this.directory, this.#as.uid, this.#as.gid)
    const options = ['-A', 'trust', '-U', USER, '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync']
    await this.#run('initdb', '-D', this.#data, ...options)
  }

  /** The user's own commands are waited for; the server stays. @param settings as `fsync=off`. */
  async start(...settings: readonly string[]): Promise<void> {
    const options = ['listen_addresses=', 'fsync=off', 'max_connections=100', ...settings].map(
      setting => `-c ${setting}`,
    )
    const log = join(this.directory, 'log')
    const started = ['-w', '-t', String(START_MS / 1000), '-o', `-k ${this.directory} ${options.join(' ')}`]
    await this.#run('pg_ctl', '-D', this.#data, '-l', log, ...started, 'start')
  }

  /** Ends every session and the server. @param how `immediate` is as a crash. */
  async stop(how: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.#run('pg_ctl', '-D', this.#data, '-m', how, '-w', '-t', String(STOP_MS / 1000), 'stop')
  }

  async remove(): Promise<void> {
    if (existsSync(join(this.#data, 'postmaster.pid'))) await this.stop('immediate')
    rmSync(this.directory, { recursive: true, force: true })
  }

  url(database: string, user: string = USER): string {
    return `postgres:///${database}?host=${this.directory}&user=${user}`
  }

  /** Runs statements as the server's superuser. */
  async execute(text: string, database = 'postgres'): Promise<readonly Record<string, unknown>[]> {
    const client = new Client({ host: this.directory, user: USER, database, password: '' })
    await client.connect()
    try {
      return (await client.query(text)).rows as Record<string, unknown>[]
    } finally {
      await client.end()
    }
  }

  /** @param template the database to copy, to which there is no connection. */
  async makeDatabase(template = 'template1'): Promise<TestPostgresDatabase> {
    const name = `test_${randomBytes(8).toString('hex')}`
    await this.execute(`CREATE DATABASE ${name} TEMPLATE ${template}`)
    return {
      server: this,
      name,
      url: this.url(name),
      execute: text => this.execute(text, name),
      copy: () => this.makeDatabase(name),
      remove: async () => void (await this.execute(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)),
    }
  }

  get #data(): string {
    return join(this.directory, 'data')
  }

  async #run(program: string, ...parameters: readonly string[]): Promise<void> {
    if (programs === undefined) throw new Error('PostgreSQL is not installed')
    const log = join(this.directory, 'log')
    try {
      await run(join(programs, program), parameters, { cwd: '/', ...this.#as })
    } catch (error) {
      const logged = existsSync(log) ? readFileSync(log, 'utf8').slice(-2000) : ''
      throw new Error(`${program} failed: ${String(error)}\n${logged}`, { cause: error })
    }
  }
}

export interface TestPostgresDatabase {
  readonly server: PostgresServer
  readonly name: string
  readonly url: string
  /** Runs statements in it as the server's superuser. */
  execute(text: string): Promise<readonly Record<string, unknown>[]>
  /** Copies it, while there is no connection to it. */
  copy(): Promise<TestPostgresDatabase>
  remove(): Promise<void>
}

/** An empty database on the server that the processes of this run share. */
export async function makePostgresDatabase(): Promise<TestPostgresDatabase> {
  return await (await sharedServer()).makeDatabase()
}

async function sharedServer(): Promise<PostgresServer> {
  const directory = await startShared('postgres', async place => {
    const server = new PostgresServer(place)
    await server.initialise()
    await server.start()
    return [Number(readFileSync(join(place, 'data', 'postmaster.pid'), 'utf8').split('\n')[0])]
  })
  return new PostgresServer(directory)
}
