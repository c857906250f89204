/** SQLite on a mount, in both ways of journalling, and killed in the middle. */
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { type Place, withPlace } from './place.ts'
import { has, sh } from './program.ts'

const MODES = ['wal', 'delete', 'truncate'] as const

/** Work that touches much of a database: inserts, updates, deletes, an index, a vacuum. */
const work = (mode: string): string => `
  PRAGMA journal_mode=${mode};
  CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data BLOB);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO t SELECT i, 'name ' || i, zeroblob(i % 700) FROM n;
  CREATE INDEX t_name ON t (name);
  ${Array.from({ length: 30 }, (_, at) => `UPDATE t SET name = name || '${at}' WHERE id % 30 = ${at};`).join('\n')}
  DELETE FROM t WHERE id % 3 = 0;
  VACUUM;
  INSERT INTO t (name, data) SELECT name, data FROM t WHERE id % 2 = 0;`

/** Inserts one row per transaction for ever and prints each id once it is committed. */
const ENDLESS = Array.from(
  { length: 20_000 },
  () => 'INSERT INTO log (at) VALUES (1); SELECT max(id) FROM log;',
).join('\n')

/**
 * Starts endless inserts, kills the program after a while with `crash`, and gives the last id that it printed. Only EXTRA
 * syncs the directory after a journal was deleted: with FULL the last transaction may be taken back after a crash. And
 * without -bail it would go on to tell an id, from cached pages, after the insert had failed.
 */
async function interrupted(
  path: string,
  mode: string,
  crash: (pid: number) => Promise<void>,
): Promise<number> {
  const sqlite = spawn('sqlite3', ['-bail', path], { stdio: ['pipe', 'pipe', 'ignore'] })
  let printed = ''
  sqlite.stdout.on('data', (data: Buffer) => (printed += data.toString()))
  sqlite.stdin
    .on('error', () => undefined)
    .write(`PRAGMA journal_mode=${mode};\nPRAGMA synchronous=EXTRA;\n${ENDLESS}`)
  const ended = new Promise(resolve => sqlite.on('close', resolve))
  const deadline = Date.now() + 20_000
  while (printed.split('\n').length < 20 && Date.now() < deadline) await sleep(20)
  await sleep(200)
  await crash(sqlite.pid!)
  sqlite.kill('SIGKILL')
  await ended
  const [printedMode, ...complete] = printed.slice(0, printed.lastIndexOf('\n')).split('\n')
  expect(printedMode).toBe(mode)
  return Math.max(...complete.map(Number))
}

async function expectSound(path: string, atLeast: number): Promise<void> {
  expect(await sh(`sqlite3 ${path} 'PRAGMA integrity_check'`)).toBe('ok')
  const [count = 0, last = 0] = (
    await sh(`sqlite3 -separator ' ' ${path} 'SELECT count(*), max(id) FROM log'`)
  )
    .split(' ')
    .map(Number)
  expect(count).toBe(last)
  expect(last).toBeGreaterThanOrEqual(atLeast)
}

async function newLog({ dir }: Place, mode: string): Promise<string> {
  const path = `${dir}/log-${mode}.sqlite`
  await sh(`sqlite3 ${path} 'PRAGMA journal_mode=${mode}; CREATE TABLE log (id INTEGER PRIMARY KEY, at INT)'`)
  return path
}

describe.skipIf(!has('sqlite3'))('sqlite', () => {
  it.each(MODES)('in journal mode %s leaves the same content as on the host', async mode => {
    await withPlace(async ({ dir, scratch, remount }) => {
      for (const place of [dir, scratch]) await sh(`sqlite3 ${place}/db`, { input: work(mode) })
      await remount()
      expect(await sh(`sqlite3 ${dir}/db 'PRAGMA integrity_check'`)).toBe('ok')
      expect(await sh(`sqlite3 ${dir}/db .dump | sha256sum`)).toBe(
        await sh(`sqlite3 ${scratch}/db .dump | sha256sum`),
      )
    })
  })

  it.each(MODES)('in journal mode %s keeps committed data when the program is killed', async mode => {
    await withPlace(async place => {
      const path = await newLog(place, mode)
      const last = await interrupted(path, mode, () => Promise.resolve())
      expect(last).toBeGreaterThan(0)
      await expectSound(path, last)
    })
  })

  it.each(MODES)('in journal mode %s keeps committed data when the mount is killed', async mode => {
    await withPlace(async place => {
      const path = await newLog(place, mode)
      const last = await interrupted(path, mode, () => place.kill())
      expect(last).toBeGreaterThan(0)
      await place.remount()
      await expectSound(path, last)
    })
  })

  it('supports several concurrent writers', async () => {
    await withPlace(async place => {
      const path = await newLog(place, 'wal')
      const inserts = Array.from({ length: 50 }, () => 'INSERT INTO log (at) VALUES (1);').join('\n')
      await Promise.all(
        Array.from({ length: 4 }, () => sh(`sqlite3 -cmd '.timeout 60000' ${path}`, { input: inserts })),
      )
      await expectSound(path, 200)
    })
  })
})
