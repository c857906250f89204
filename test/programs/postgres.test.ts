/** PostgreSQL on a mount: initdb, pgbench, and crashes of the server and of the mount. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Place, withPlace } from './place.ts'
import { has, sh } from './program.ts'

const VERSIONS = '/usr/lib/postgresql'
const bin = existsSync(VERSIONS)
  ? readdirSync(VERSIONS)
      .map(version => join(VERSIONS, version, 'bin'))
      .find(path => existsSync(join(path, 'initdb')) && existsSync(join(path, 'pgbench')))
  : undefined

/** The sums that every pgbench transaction changes alike, and how many transactions there were. */
const SUMS = `SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
  (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
  (SELECT count(*) FROM pgbench_history)`

/** A cluster on a place, its socket on the host. */
class Cluster {
  readonly #place: Place
  readonly #data: string

  constructor(place: Place) {
    this.#place = place
    this.#data = `${place.dir}/cluster`
  }

  run(command: string): Promise<string> {
    const { scratch } = this.#place
    return sh(command, {
      cwd: scratch,
      user: 'postgres',
      env: {
        PATH: `${bin}:${process.env['PATH']}`,
        PGHOST: scratch,
        PGPORT: '54329',
        PGDATABASE: 'postgres',
      },
    })
  }

  async create(): Promise<void> {
    await sh(
      `chmod 777 ${this.#place.scratch} && mkdir ${this.#data} && chown postgres:postgres ${this.#data}`,
    )
    await this.run(`initdb -k -D ${this.#data} --locale=C -E UTF8 -A trust`)
  }

  async start(): Promise<void> {
    const options = `-k ${this.#place.scratch} -p 54329 -c listen_addresses= -c fsync=on -c shared_buffers=16MB`
    await this.run(
      `pg_ctl -D ${this.#data} -w -t 60 -l ${this.#place.scratch}/log -o '${options}' start || { cat ${this.#place.scratch}/log >&2; exit 1; }`,
    )
  }

  async stop(how: 'fast' | 'immediate'): Promise<void> {
    await this.run(`pg_ctl -D ${this.#data} -w -t 60 -m ${how} stop`)
  }

  /** Kills every process of the server at once. */
  async crash(): Promise<void> {
    const server = await sh(`pgrep -f '^${bin}/postgres -D ${this.#data}' || true`)
    if (server === '') return
    const all = await sh(`echo ${server} $(pgrep -P ${server})`)
    await sh(`kill -9 ${all}; for pid in ${all}; do tail --pid=$pid -s 0.05 -f /dev/null; done`)
  }

  /** Expects that the bank's books agree, and gives the number of transactions in them. */
  async expectSound(): Promise<number> {
    const [accounts, branches, tellers, history, count] = (
      await this.run(`psql -AtF ' ' -c "${SUMS}"`)
    ).split(' ')
    expect([branches, tellers, history]).toEqual([accounts, accounts, accounts])
    await this.run('pg_amcheck --install-missing --heapallindexed')
    return Number(count)
  }
}

describe.skipIf(bin === undefined || process.getuid?.() !== 0 || !has('setpriv'))('PostgreSQL', () => {
  it(
    'initialises, runs pgbench, and survives crashes of itself and of the mount',
    { timeout: 300_000 },
    async () => {
      await withPlace(async place => {
        const cluster = new Cluster(place)
        try {
          await cluster.create()
          await cluster.start()
          await cluster.run('pgbench -q -i -s 1')
          await cluster.run('pgbench -n -c 4 -j 2 -t 100')
          expect(await cluster.expectSound()).toBe(400)

          const interrupted = cluster.run('pgbench -n -c 4 -j 2 -T 3').catch(() => 'interrupted')
          await sh('sleep 1.5')
          await cluster.crash()
          await interrupted
          await cluster.start()
          const survived = await cluster.expectSound()
          expect(survived).toBeGreaterThanOrEqual(400)

          await cluster.run('pgbench -n -c 4 -j 2 -t 50')
          await place.kill()
          await cluster.crash()
          await place.remount()
          await cluster.start()
          expect(await cluster.expectSound()).toBeGreaterThanOrEqual(survived + 200)
          await cluster.stop('fast')
          await cluster.run(`pg_checksums -c -D ${place.dir}/cluster`)
        } finally {
          await cluster.crash()
        }
      })
    },
  )
})
