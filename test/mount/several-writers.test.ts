/** Mounts that write one database on a server, in turns. */
import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import {
  appendFile,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { withMount, type TestMount } from '../tools/mounted.ts'
import { hasPostgres, makePostgresDatabase } from '../tools/postgres-server.ts'
import { runProgram, runZblkfs } from '../tools/run-zblkfs.ts'
import { statusOf, storeSynced, succeed } from './every-command.ts'

const SOON = { timeout: 20_000, interval: 100 }
/** Its records have {@link RECORD_PAGES} pages, numbered. */
const APPENDS = join(import.meta.dirname, 'drivers/kernel/asynchronous-appends.py')
const RECORD_PAGES = 768
const WRITES = join(import.meta.dirname, 'drivers/kernel/asynchronous-writes.py')
const DIRECT_ROUNDS = process.env['ZBLKFS_DIRECT_ROUNDS'] ?? '30'
const GONE_MS = 10_000
/** How often a file is replaced while another mount opens it. */
const REPLACED = 60
/** What a slow machine adds. */
const SLACK_MS = 5000

async function withMounts(
  count: number,
  body: (mounts: readonly TestMount[]) => Promise<void>,
  options: readonly string[] = [],
): Promise<void> {
  const database = await makePostgresDatabase()
  const nest = async (mounts: readonly TestMount[]): Promise<void> => {
    if (mounts.length < count)
      return await withMount({ driver: 'kernel', db: database.url, options }, async mount => {
        await nest([...mounts, mount])
      })
    await body(mounts)
    for (const mount of mounts) await mount.unmount().catch(() => undefined)
    expect(await succeed('fsck', '--data', database.url)).toContain('is clean')
  }
  try {
    await nest([])
  } finally {
    await database.remove()
  }
}

/** Two mounts. */
const withTwo = (
  body: (one: TestMount, two: TestMount) => Promise<void>,
  options: readonly string[] = [],
): Promise<void> =>
  withMounts(
    2,
    async ([one, two]) => {
      if (one === undefined || two === undefined) throw new Error('two mounts')
      await body(one, two)
    },
    options,
  )

const times = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index)

describe.skipIf(!hasPostgres)('several mounts that write', () => {
  test('O_EXCL has one winner, appends are in turn, and nothing is lost', async () => {
    await withMounts(3, async mounts => {
      const rounds = 30
      const won = await Promise.all(
        mounts.map(async ({ dir }, writer) => {
          let names = 0
          for (const round of times(rounds)) {
            const made = await open(join(dir, `lock${round}`), 'wx').catch((error: unknown) => {
              expect(error).toMatchObject({ code: 'EEXIST' })
            })
            if (made) {
              names++
              await made.writeFile(String(writer))
              await made.close()
            }
            await appendFile(join(dir, 'log'), `${writer} ${round}\n`)
            await mkdir(join(dir, `directory${writer} ${round}`))
          }
          return names
        }),
      )
      expect(won.reduce((sum, names) => sum + names)).toBe(rounds)
      for (const { dir } of mounts) {
        const lines = (await readFile(join(dir, 'log'), 'utf8')).trimEnd().split('\n')
        expect(lines).toHaveLength(rounds * mounts.length)
        for (const writer of mounts.keys())
          expect(lines.filter(line => line.startsWith(`${writer} `))).toEqual(
            times(rounds).map(round => `${writer} ${round}`),
          )
        expect(await readdir(dir)).toHaveLength(rounds * 4 + 1)
      }
    })
  })

  test('appends of several megabytes by asynchronous requests keep their bytes in order', async () => {
    await withTwo(async (one, two) => {
      const rounds = 8
      const append = (mount: TestMount, number: number) =>
        runProgram('python3', [APPENDS, join(mount.dir, 'log'), String(number), String(rounds)])
      const written = await Promise.all([append(one, 1), append(two, 2)])
      expect(written.map(({ stderr }) => stderr)).toEqual(['', ''])
      const log = await readFile(join(one.dir, 'log'))
      expect(log.length).toBe(2 * rounds * RECORD_PAGES * 4096)
      const next = new Map<string, number>()
      for (let at = 0; at < log.length; at += 4096) {
        const record = `${log.readUInt32LE(at)} ${log.readUInt32LE(at + 4)}`
        expect(log.readUInt32LE(at + 8), `page of ${record} at ${at}`).toBe(next.get(record) ?? 0)
        next.set(record, (next.get(record) ?? 0) + 1)
      }
      expect([...next.values()]).toEqual(times(2 * rounds).map(() => RECORD_PAGES))
    })
  })

  test('asynchronous direct writes leave no old pages in the cache while the lease comes and goes', async () => {
    await withTwo(async (one, two) => {
      const running = { isOver: false }
      const other = (async () => {
        for (let round = 0; !running.isOver; round++) await writeFile(join(two.dir, 'other'), `${round}\n`)
      })()
      try {
        const written = await runProgram('python3', [WRITES, join(one.dir, 'direct'), DIRECT_ROUNDS])
        expect(written).toMatchObject({ stdout: '0\n', stderr: '' })
      } finally {
        running.isOver = true
        await other
      }
    })
  })

  test('open shows what was done before on another mount', async () => {
    await withTwo(async (one, two) => {
      for (const round of times(8)) {
        const [from, to] = round % 2 === 0 ? [one.dir, two.dir] : [two.dir, one.dir]
        const shown = join(to, 'file')
        await writeFile(join(from, 'file'), `round ${round}`.padEnd(round * 3000))
        expect((await readFile(shown, 'utf8')).trimEnd()).toBe(`round ${round}`)
        expect((await stat(shown)).size).toBe(Math.max(7, round * 3000))
        await expect(readFile(join(to, `new${round}`))).rejects.toMatchObject({ code: 'ENOENT' })
        await writeFile(join(from, 'tmp'), 'replaced')
        await rename(join(from, 'tmp'), join(from, `new${round}`))
        expect(await readFile(join(to, `new${round}`), 'utf8')).toBe('replaced')
        await writeFile(join(from, 'tmp'), 'replaced again')
        await rename(join(from, 'tmp'), join(from, `new${round}`))
        expect(await readFile(join(to, `new${round}`), 'utf8')).toBe('replaced again')
        await unlink(join(from, `new${round}`))
        await expect(readFile(join(to, `new${round}`))).rejects.toMatchObject({ code: 'ENOENT' })
        await mkdir(join(from, `d${round}`))
        expect(await readdir(to)).toContain(`d${round}`)
        await rename(join(from, `d${round}`), join(from, `e${round}`))
        await writeFile(join(from, `e${round}`, 'inner'), 'x')
        await expect(readFile(join(to, `d${round}`, 'inner'))).rejects.toMatchObject({ code: 'ENOENT' })
        expect(await readFile(join(to, `e${round}`, 'inner'), 'utf8')).toBe('x')
      }
    })
  })

  test('open never fails while another mount replaces the file, and shows what was there when it began or later', async () => {
    await withTwo(async (one, two) => {
      const [from, shown] = [join(one.dir, 'new'), join(two.dir, 'file')]
      const state = { replaced: 0 }
      const replace = async (): Promise<void> => {
        await writeFile(from, String(state.replaced + 1))
        await rename(from, join(one.dir, 'file'))
        state.replaced++
      }
      await replace()
      const read = times(4).map(async () => {
        while (state.replaced < REPLACED) {
          const before = state.replaced
          expect(Number(await readFile(shown, 'utf8'))).toBeGreaterThanOrEqual(before)
        }
      })
      while (state.replaced < REPLACED) await replace()
      await Promise.all(read)
    })
  })

  test('a file that another mount has renamed can be opened by its descriptor', async () => {
    await withTwo(async (one, two) => {
      await writeFile(join(one.dir, 'file'), 'kept')
      const fd = openSync(join(two.dir, 'file'), 'r')
      try {
        await rename(join(one.dir, 'file'), join(one.dir, 'renamed'))
        expect(await readFile(`/proc/self/fd/${fd}`, 'utf8')).toBe('kept')
      } finally {
        closeSync(fd)
      }
    })
  })

  test('a rename of one file by two mounts succeeds once, across directories as well', async () => {
    await withTwo(async (one, two) => {
      for (const name of ['from', 'to0', 'to1']) await mkdir(join(one.dir, name))
      for (const round of times(10)) {
        await writeFile(join(one.dir, 'from', `${round}`), 'x')
        const results = await Promise.allSettled(
          [one, two].map(({ dir }, index) =>
            rename(join(dir, 'from', `${round}`), join(dir, `to${index}`, `${round}`)),
          ),
        )
        expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      }
      for (const { dir } of [one, two]) {
        const moved = [...(await readdir(join(dir, 'to0'))), ...(await readdir(join(dir, 'to1')))]
        expect(moved.toSorted()).toEqual(times(10).map(String))
      }
    })
  })

  test('a file that another mount has unlinked stays usable while it is open', async () => {
    await withTwo(async (one, two) => {
      await writeFile(join(one.dir, 'open'), 'to be kept')
      const fd = openSync(join(two.dir, 'open'), 'r+')
      try {
        await unlink(join(one.dir, 'open'))
        await succeed('sync', one.dir)
        await vi.waitFor(async () => await expect(stat(join(two.dir, 'open'))).rejects.toThrow(), SOON)
        const bytes = Buffer.alloc(20)
        expect(bytes.toString('utf8', 0, readSync(fd, bytes, 0, 20, 0))).toBe('to be kept')
        writeSync(fd, 'changed', 100_000)
        ftruncateSync(fd, 100_004)
        await succeed('sync', two.dir)
        await writeFile(join(one.dir, 'open'), 'another')
        expect(bytes.toString('utf8', 0, readSync(fd, bytes, 0, 20, 100_000))).toBe('chan')
      } finally {
        closeSync(fd)
      }
      expect(await readFile(join(two.dir, 'open'), 'utf8')).toBe('another')
    })
  })

  test('when the holder of the lease is killed, others write within 10 s, and what it had synced is there', async () => {
    await withTwo(async (one, two) => {
      storeSynced(join(one.dir, 'synced'), 'synced')
      await writeFile(join(one.dir, 'unsynced'), 'may be lost')
      await one.kill()
      const start = performance.now()
      await writeFile(join(two.dir, 'next'), 'next')
      expect(performance.now() - start).toBeLessThan(GONE_MS + SLACK_MS)
      expect(await readFile(join(two.dir, 'synced'), 'utf8')).toBe('synced')
      await one.remount()
      expect(await readFile(join(one.dir, 'next'), 'utf8')).toBe('next')
    })
  })

  test('a mount that was paused is fenced: EIO, its unstored data readable, until it rejoins', async () => {
    await withTwo(
      async (one, two) => {
        await writeFile(join(one.dir, 'kept'), 'kept')
        await writeFile(join(one.dir, 'dropped'), 'dropped')
        storeSynced(join(one.dir, 'file'), 'stored')
        // From its next turn on both allocate the same inode numbers.
        await writeFile(join(two.dir, 'turn'), 'x')
        await mkdir(join(one.dir, 'lost'))
        for (const n of times(8))
          await writeFile(join(one.dir, 'lost', `${n}`), 'not stored'.repeat(2000 * n))
        const lost = openSync(join(one.dir, 'lost', '4'), 'r')
        await writeFile(join(one.dir, 'file'), 'not stored')
        await writeFile(join(one.dir, 'new'), 'not stored either', { mode: 0o640 })
        await mkdir(join(one.dir, 'd\u{fc}r'))
        await symlink('../new', join(one.dir, 'd\u{fc}r', 'a link'))
        await rename(join(one.dir, 'kept'), join(one.dir, 'renamed'))
        await unlink(join(one.dir, 'dropped'))
        process.kill(one.pid(), 'SIGSTOP')
        await writeFile(join(two.dir, 'file'), 'by another')
        for (const n of times(8)) {
          await mkdir(join(two.dir, `d${n}`))
          await writeFile(join(two.dir, `f${n}`), `file ${n}`)
          await mkdir(join(two.dir, `d${n}`, 'inner'))
        }
        process.kill(one.pid(), 'SIGCONT')
        await vi.waitFor(
          async () => expect((await statusOf(one.dir))?.connection).toMatchObject({ state: 'fenced' }),
          SOON,
        )
        expect((await runProgram('sync', [join(one.dir, 'file')])).exitCode).not.toBe(0)
        await expect(writeFile(join(one.dir, 'more'), 'x')).rejects.toMatchObject({ code: 'EIO' })
        expect(await readFile(join(one.dir, 'file'), 'utf8')).toBe('not stored')
        expect(await readFile(join(one.dir, 'new'), 'utf8')).toBe('not stored either')
        expect((await runZblkfs('status')).stdout).toContain(`zblkfs rejoin ${one.dir}`)
        expect((await runZblkfs('sync', one.dir)).stderr).toContain("'zblkfs rejoin DIR'")
        const refused = await runZblkfs('rejoin', one.dir)
        expect(refused).toMatchObject({ exitCode: 1 })
        expect(refused.stderr).toContain('--discard')
        expect(refused.stderr).toContain(`zblkfs rescue ${one.dir}`)
        const rescued = join(one.scratch, 'rescued')
        const listed = await succeed('rescue', one.dir, rescued)
        expect(listed).toContain('copied: d\u{fc}r/a link')
        expect(listed).toContain('copied: renamed, which was kept')
        expect(listed).toContain('removed, but not stored: dropped')
        expect(listed).toContain(`zblkfs rejoin --discard ${one.dir}`)
        expect((await readdir(rescued)).toSorted()).toEqual(['d\u{fc}r', 'file', 'lost', 'new', 'renamed'])
        expect(await readFile(join(rescued, 'file'), 'utf8')).toBe('not stored')
        expect(await readFile(join(rescued, 'new'), 'utf8')).toBe('not stored either')
        expect((await stat(join(rescued, 'new'))).mode).toBe((await stat(join(one.dir, 'new'))).mode)
        expect(await readlink(join(rescued, 'd\u{fc}r/a link'))).toBe('../new')
        expect(await readFile(join(rescued, 'renamed'), 'utf8')).toBe('kept')
        expect(await runZblkfs('rescue', one.dir, rescued)).toMatchObject({ exitCode: 1 })
        const inMount = join(two.dir, 'rescued')
        expect((await runZblkfs('rescue', one.dir, inMount)).stderr).toContain('in a zblkfs mount')
        await expect(stat(inMount)).rejects.toMatchObject({ code: 'ENOENT' })
        expect((await runZblkfs('rescue', two.dir, join(one.scratch, 'other'))).stderr).toContain(
          'nothing is lost',
        )
        const unaware = openSync(join(one.dir, 'file'), 'r')
        await succeed('rejoin', '--discard', one.dir)
        expect(() => fsyncSync(unaware)).toThrow('EIO')
        fsyncSync(unaware)
        closeSync(unaware)
        await vi.waitFor(
          async () => expect(await readFile(join(one.dir, 'file'), 'utf8')).toBe('by another'),
          SOON,
        )
        await expect(readFile(join(one.dir, 'new'))).rejects.toMatchObject({ code: 'ENOENT' })
        expect((await readdir(one.dir)).toSorted()).toEqual((await readdir(two.dir)).toSorted())
        for (const n of times(8)) {
          expect(await readFile(join(one.dir, `f${n}`), 'utf8')).toBe(`file ${n}`)
          expect(await readdir(join(one.dir, `d${n}`))).toEqual(['inner'])
          await writeFile(join(one.dir, `d${n}`, 'made'), 'made')
          expect(await readFile(join(two.dir, `d${n}`, 'made'), 'utf8')).toBe('made')
        }
        expect(() => readSync(lost, Buffer.alloc(10))).toThrow('116')
        closeSync(lost)
        storeSynced(join(one.dir, 'file'), 'again')
        expect(await readFile(join(two.dir, 'file'), 'utf8')).toBe('again')
      },
      ['commit_interval=60s'],
    )
  })

  test('a mount that was paused without unstored data rejoins by itself', async () => {
    await withTwo(async (one, two) => {
      storeSynced(join(one.dir, 'file'), 'stored')
      process.kill(one.pid(), 'SIGSTOP')
      await writeFile(join(two.dir, 'file'), 'by another')
      process.kill(one.pid(), 'SIGCONT')
      await sleep(3000)
      storeSynced(join(one.dir, 'next'), 'next')
      expect(await readFile(join(one.dir, 'file'), 'utf8')).toBe('by another')
      expect(await readFile(join(two.dir, 'next'), 'utf8')).toBe('next')
    })
  })

  test('sync --to waits until a mount shows a transaction', async () => {
    await withTwo(async (one, two) => {
      await mkdir(join(one.dir, 'd'))
      const tid = (await succeed('sync', one.dir)).trim()
      await succeed('sync', '--to', tid, two.dir)
      expect((await readFile(join(two.dir, '.zblkfs/at'), 'utf8')).trim() >= tid).toBe(true)
      expect(await readdir(two.dir)).toEqual(['d'])
      const late = await runZblkfs('sync', '--to', '7f00000000000000', '--timeout', '1s', two.dir)
      expect(late).toMatchObject({ exitCode: 1 })
      expect(late.stderr).toContain('7f00000000000000')
      expect(await runZblkfs('sync', '--to', 'nonsense', two.dir)).toMatchObject({ exitCode: 2 })
    })
  })

  test('txn keeps others out, ends with a conflict when they wait for too long, and can be repeated', async () => {
    await withTwo(async (one, two) => {
      const script = `echo from txn > ${one.dir}/txn`
      expect(await runZblkfs('txn', one.dir, '--', 'sh', '-c', script)).toMatchObject({ exitCode: 0 })
      expect(await readFile(join(two.dir, 'txn'), 'utf8')).toBe('from txn\n')
      const slow = runZblkfs('txn', one.dir, '--', 'sh', '-c', `echo slow > ${one.dir}/slow; sleep 16`)
      await sleep(4000)
      await writeFile(join(two.dir, 'other'), 'by another')
      const ended = await slow
      expect(ended).toMatchObject({ exitCode: 75 })
      expect(ended.stderr).toContain('nothing')
      for (const { dir } of [one, two])
        await expect(readFile(join(dir, 'slow'))).rejects.toMatchObject({ code: 'ENOENT' })
      const again = `test -e ${one.scratch}/once && exit 0; touch ${one.scratch}/once; echo x > ${one.dir}/x; sleep 16`
      const repeated = runZblkfs('txn', '--retry', '1', one.dir, '--', 'sh', '-c', again)
      await sleep(4000)
      await rm(join(two.dir, 'other'))
      expect(await repeated).toMatchObject({ exitCode: 0 })
    })
  })
})
