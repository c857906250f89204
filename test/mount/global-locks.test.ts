/** Locks of files among mounts of one database on a server: `-o locks=global`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { withMount, type TestMount } from '../tools/mounted.ts'
import { hasPostgres, makePostgresDatabase } from '../tools/postgres-server.ts'
import { runProgram, runZblkfs } from '../tools/run-zblkfs.ts'
import { statusOf, succeed } from './every-command.ts'

const COUNT_UNDER_LOCK = fileURLToPath(new URL('count-under-lock.py', import.meta.url))
const SOON = { timeout: 20_000, interval: 100 }
/** Until the locks of a mount that is gone are free, and what a slow machine adds. */
const GONE_MS = 15_000

const GLOBAL = { driver: 'kernel', options: ['locks=global'] } as const

async function withTwo(body: (one: TestMount, two: TestMount) => Promise<void>): Promise<void> {
  const database = await makePostgresDatabase()
  try {
    await withMount({ ...GLOBAL, db: database.url }, async one => {
      await withMount({ ...GLOBAL, db: database.url }, async two => {
        await body(one, two)
        for (const mount of [one, two]) await mount.unmount().catch(() => undefined)
      })
    })
    expect(await succeed('fsck', '--data', database.url)).toContain('is clean')
  } finally {
    await database.remove()
  }
}

/** A program that holds a lock until it is ended. */
async function holding(
  path: string,
  kind: 'flock' | 'lockf',
  then = '',
): Promise<{ readonly end: () => Promise<void>; readonly output: () => string }> {
  const script = `
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.${kind}(fd, fcntl.LOCK_EX)
print("locked", flush=True)
for line in sys.stdin:
    try:
        os.pwrite(fd, b"written", 0)
        print("written", flush=True)
    except OSError as error:
        print("error", error.errno, flush=True)
${then}`
  const child = spawn('python3', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', data => (output += String(data)))
  const exit = once(child, 'exit')
  await vi.waitUntil(() => output.includes('locked'), SOON)
  return {
    end: async () => {
      child.stdin.end()
      await exit
    },
    output: () => {
      child.stdin.write('\n')
      return output
    },
  }
}

const tryLock = async (kind: 'flock' | 'lockf', path: string): Promise<number | undefined> =>
  (
    await runProgram('python3', [
      '-c',
      `import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.${kind}(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(11)`,
      path,
    ])
  ).exitCode

describe.skipIf(!hasPostgres)('locks=global', () => {
  test.each(['flock', 'lockf'] as const)(
    '%s excludes programs on other mounts; a waiting one can be interrupted',
    async kind => {
      await withTwo(async (one, two) => {
        await writeFile(join(one.dir, 'file'), '0')
        const holder = await holding(join(one.dir, 'file'), kind)
        const path = join(two.dir, 'file')
        expect(await tryLock(kind, path)).toBe(11)
        expect(await tryLock(kind, join(one.dir, 'file'))).toBe(11)
        // The two kinds do not conflict.
        expect(await tryLock(kind === 'flock' ? 'lockf' : 'flock', path)).toBe(0)
        const wait = `import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.${kind}(fd, fcntl.LOCK_EX)
print("locked")`
        const start = performance.now()
        expect(await runProgram('timeout', ['2', 'python3', '-c', wait, path])).toMatchObject({
          exitCode: 124,
        })
        expect(
          await runProgram('timeout', ['-s', 'KILL', '2', 'python3', '-c', wait, path]),
        ).not.toMatchObject({
          exitCode: 0,
        })
        expect(performance.now() - start).toBeLessThan(10_000)
        const waiting = runProgram('timeout', ['20', 'python3', '-c', wait, path])
        await sleep(500)
        await holder.end()
        expect(await waiting).toMatchObject({ exitCode: 0, stdout: 'locked\n' })
        expect(await tryLock(kind, path)).toBe(0)
      })
    },
  )

  test.each(['fcntl', 'flock'])(
    'under %s a program sees what was written under it elsewhere, through an open file',
    async kind => {
      await withTwo(async (one, two) => {
        const count = 25
        await writeFile(join(one.dir, 'file'), '0')
        const ends = await Promise.all(
          [one, two].map(({ dir }) =>
            runProgram('python3', [COUNT_UNDER_LOCK, join(dir, 'file'), String(count), kind]),
          ),
        )
        expect(ends).toMatchObject([{ exitCode: 0 }, { exitCode: 0 }])
        expect(await readFile(join(two.dir, 'file'), 'utf8')).toBe(String(2 * count))
      })
    },
  )

  test('SQLite on two mounts loses no transaction', async () => {
    await withTwo(async (one, two) => {
      const at = ({ dir }: TestMount): string => join(dir, 'data.db')
      expect(await runProgram('sqlite3', [at(one), 'CREATE TABLE t (n, who)'])).toMatchObject({ exitCode: 0 })
      const count = 12
      await Promise.all(
        [one, two].map(async (mount, index) => {
          const add = 'INSERT INTO t SELECT count(*), '.concat(String(index), ' FROM t;')
          const script = `.timeout 60000\n${`BEGIN IMMEDIATE; ${add} COMMIT;\n`.repeat(count)}`
          const ended = await runProgram('sh', [
            '-c',
            'printf %s "$0" | sqlite3 -bail "$1"',
            script,
            at(mount),
          ])
          expect(ended).toMatchObject({ exitCode: 0, stderr: '' })
        }),
      )
      const query = 'PRAGMA integrity_check; SELECT count(*), count(DISTINCT n), max(n) FROM t'
      for (const mount of [one, two])
        expect((await runProgram('sqlite3', [at(mount), query])).stdout).toBe(
          `ok\n${2 * count}|${2 * count}|${2 * count - 1}\n`,
        )
    })
  })

  test('the locks of a mount whose daemon was killed are free within 10 s', async () => {
    await withTwo(async (one, two) => {
      await writeFile(join(one.dir, 'file'), '0')
      await succeed('sync', one.dir)
      const holder = await holding(join(one.dir, 'file'), 'lockf')
      await one.kill()
      const start = performance.now()
      const counted = await runProgram('python3', [COUNT_UNDER_LOCK, join(two.dir, 'file'), '1', 'fcntl'])
      expect(counted).toMatchObject({ exitCode: 0 })
      expect(performance.now() - start).toBeLessThan(GONE_MS)
      await holder.end()
      await one.remount()
      expect(await readFile(join(one.dir, 'file'), 'utf8')).toBe('1')
    })
  })

  test('a mount that was paused has lost its locks: the file cannot be written until they are released', async () => {
    await withTwo(async (one, two) => {
      await writeFile(join(one.dir, 'file'), '0')
      await succeed('sync', one.dir)
      const holder = await holding(join(one.dir, 'file'), 'lockf')
      process.kill(one.pid(), 'SIGSTOP')
      expect(
        await runProgram('python3', [COUNT_UNDER_LOCK, join(two.dir, 'file'), '1', 'fcntl']),
      ).toMatchObject({
        exitCode: 0,
      })
      process.kill(one.pid(), 'SIGCONT')
      await vi.waitUntil(() => holder.output().includes('error 5'), SOON)
      expect(holder.output()).not.toContain('written')
      await writeFile(join(one.dir, 'another'), 'x')
      await holder.end()
      expect((await statusOf(one.dir))?.connection).toMatchObject({ state: 'connected' })
      expect(
        await runProgram('python3', [COUNT_UNDER_LOCK, join(one.dir, 'file'), '1', 'fcntl']),
      ).toMatchObject({
        exitCode: 0,
      })
      expect(await readFile(join(two.dir, 'file'), 'utf8')).toBe('2')
    })
  })

  test('a lock of a file that was never stored and is lost holds up no other file', async () => {
    await withTwo(async (one, two) => {
      await writeFile(join(one.dir, 'stored'), 'stored')
      await succeed('sync', one.dir)
      // From its next turn on both allocate the same inode numbers.
      await writeFile(join(two.dir, 'turn'), 'x')
      await succeed('sync', two.dir)
      const holder = await holding(join(one.dir, 'lost'), 'lockf')
      process.kill(one.pid(), 'SIGSTOP')
      for (const n of Array.from({ length: 8 }, (_, index) => index))
        await writeFile(join(two.dir, `file ${n}`), `${n}`)
      await succeed('sync', two.dir)
      process.kill(one.pid(), 'SIGCONT')
      await vi.waitFor(
        async () => expect((await statusOf(one.dir))?.connection).toMatchObject({ state: 'fenced' }),
        SOON,
      )
      await succeed('rejoin', '--discard', one.dir)
      for (const n of Array.from({ length: 8 }, (_, index) => index))
        await writeFile(join(one.dir, `file ${n}`), `again ${n}`)
      const other = await holding(join(one.dir, 'file 0'), 'lockf')
      await holder.end()
      await other.end()
      expect(await readFile(join(two.dir, 'file 7'), 'utf8')).toBe('again 7')
    })
  })

  test('it is refused where it cannot work', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'zblkfs-locks-'))
    const mnt = join(dir, 'mnt')
    await mkdir(mnt)
    try {
      const refused = await runZblkfs('mount', '-o', 'locks=global', join(dir, 'x.zblk'), mnt)
      expect(refused).toMatchObject({ exitCode: 1 })
      expect(refused.stderr).toContain('on a server')
      for (const other of ['ro', 'driver=fuse-native', 'at=1h'])
        expect(await runZblkfs('mount', '-o', `locks=global,${other}`, 'x.zblk', mnt)).toMatchObject({
          exitCode: 2,
        })
      expect(await runZblkfs('mount', '-o', 'locks=everywhere', 'x.zblk', mnt)).toMatchObject({ exitCode: 2 })
      expect(await readdir(dir)).toEqual(['mnt'])
    } finally {
      await rm(dir, { recursive: true })
    }
  })
})
