/** pgbench: a PostgreSQL server whose data lie in a directory. */
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../programs.ts'

const POSTGRES = '/usr/lib/postgresql/15/bin'
const PGBENCH_SCALE = 10
export const PGBENCH_CLIENTS = 4

/** Whether PostgreSQL's programs are here. */
export const canPgbench = (): boolean => existsSync(join(POSTGRES, 'pgbench'))

/** Transactions a second of pgbench's default script. The server does not run as root. */
export async function pgbench(directory: string, durationSeconds: number): Promise<number> {
  const [uid, gid] = idsOf('postgres')
  const data = join(directory, 'data')
  mkdirSync(data)
  chownSync(data, uid, gid)
  // A socket's name may have at most 107 bytes.
  const sockets = mkdtempSync(join(tmpdir(), 'zblkfs-pg-'))
  chownSync(sockets, uid, gid)
  const asPostgres = async (program: string, ...parameters: readonly string[]): Promise<string> =>
    await run('runuser', '-u', 'postgres', '--', join(POSTGRES, program), ...parameters)
  const log = join(sockets, 'log')
  try {
    await asPostgres('initdb', '-D', data, '-A', 'trust')
    await asPostgres('pg_ctl', '-D', data, '-w', '-l', log, '-o', `-k ${sockets} -h ''`, 'start')
    try {
      await asPostgres('pgbench', '-h', sockets, '-q', '-i', '-s', String(PGBENCH_SCALE), 'postgres')
      const clients = ['-c', String(PGBENCH_CLIENTS), '-j', '2', '-T', String(durationSeconds)]
      const output = await asPostgres('pgbench', '-h', sockets, '-n', ...clients, 'postgres')
      return Number(/^tps = ([\d.]+)/m.exec(output)?.[1])
    } finally {
      await asPostgres('pg_ctl', '-D', data, '-w', '-m', 'fast', 'stop')
    }
  } finally {
    rmSync(sockets, { recursive: true, force: true })
  }
}

/** The uid and the gid of a user. */
function idsOf(user: string): readonly [number, number] {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  const fields = lines.find(line => line.startsWith(`${user}:`))?.split(':')
  if (fields === undefined) throw new Error(`there is no user ${user}`)
  return [Number(fields[2]), Number(fields[3])]
}
