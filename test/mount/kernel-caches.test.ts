/** What the kernel keeps of attributes and names: it asks once, and what it keeps stays true. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'

/** Longer than attributes hold that change by themselves. */
const BRIEFLY_MS = 1100
const ATTEMPTS = 5

/** The operations that the kernel asks for while `work` runs. */
function requestsOf(dir: string, work: () => void): Record<string, number> {
  const counts = (): Record<string, number> =>
    (JSON.parse(readFileSync(join(dir, '.zblkfs/stats'), 'utf8')) as { operations: Record<string, number> })
      .operations
  const [once, before] = [counts(), counts()]
  work()
  const after = counts()
  const requests: Record<string, number> = {}
  for (const [name, total] of Object.entries(after)) {
    // Asking for the counts is the same each time.
    const asking = (before[name] ?? 0) - (once[name] ?? 0)
    const made = total - (before[name] ?? 0) - asking
    if (made !== 0) requests[name] = made
  }
  return requests
}

/**
 * Runs `work` until its requests pass, each time longer after the last than anything holds "briefly". Tests that run at the same
 * time drop all caches of the machine now and then, so a few attempts are made.
 */
async function requestsInTheEnd(
  dir: string,
  work: () => void,
  pass: (requests: Record<string, number>) => boolean,
): Promise<Record<string, number>> {
  for (let attempt = 1; ; attempt++) {
    await sleep(BRIEFLY_MS)
    const requests = requestsOf(dir, work)
    if (pass(requests) || attempt === ATTEMPTS) return requests
  }
}

const isNone = (requests: Record<string, number>): boolean => Object.keys(requests).length === 0

/** Looks up the end of a file 2,000 times. */
const SEEKS = `
import os, sys
f = os.open(sys.argv[1], os.O_RDWR)
for _ in range(2000): end = os.lseek(f, 0, os.SEEK_END)
print(end)`

const namesOf = (count: number): readonly string[] => Array.from({ length: count }, (_, i) => `f${i}`)

async function run(...parameters: string[]): Promise<void> {
  const { exitCode, stderr } = await runZblkfs(...parameters)
  expect(exitCode, `zblkfs ${parameters.join(' ')}: ${stderr}`).toBe(0)
}

test('the requests of create, lookup, write, rename and remove', { timeout: 300_000 }, () =>
  withMount({ driver: 'kernel' }, async ({ dir }) => {
    const paths = namesOf(20).map(name => join(dir, 'd', name))
    mkdirSync(join(dir, 'd'))
    const create = requestsOf(dir, () => {
      for (const path of paths) writeFileSync(path, 'content')
    })
    expect(create).toMatchObject({ lookup: 20, create: 20, getxattr: 20, write: 20 })
    expect(create['getattr']).toBeLessThanOrEqual(21)
    await run('sync', dir)
    await sleep(BRIEFLY_MS)
    const look = (): void => paths.forEach(path => void lstatSync(path))
    expect(requestsOf(dir, look)).toMatchObject({ getattr: expect.any(Number) as number })
    expect(await requestsInTheEnd(dir, look, isNone)).toEqual({})

    const missing = namesOf(20).map(name => join(dir, 'd', `no-${name}`))
    const miss = (): void => missing.forEach(path => expect(existsSync(path)).toBe(false))
    expect(requestsOf(dir, miss)['lookup']).toBeGreaterThanOrEqual(20)
    expect(await requestsInTheEnd(dir, miss, isNone)).toEqual({})
    expect(requestsOf(dir, () => missing.forEach(path => writeFileSync(path, '')))['lookup'] ?? 0).toBe(0)
    expect(missing.every(path => existsSync(path))).toBe(true)

    const readAll = (): void => paths.forEach(path => void readFileSync(path))
    const read = await requestsInTheEnd(dir, readAll, ({ lookup = 0 }) => lookup === 0)
    expect(read).toMatchObject({ open: 20 })
    expect(read['lookup'] ?? 0).toBe(0)
    expect(read['getattr'] ?? 0).toBeLessThanOrEqual(1)
  }),
)

test(
  'the end of a file with holes that is open for writing is not asked for each time',
  { timeout: 300_000 },
  () =>
    withMount({ driver: 'kernel' }, async ({ dir }) => {
      const path = join(dir, 'f')
      writeFileSync(path, '')
      truncateSync(path, 1 << 20)
      const ends = (): void => {
        const { stdout } = spawnSync('python3', ['-c', SEEKS, path], { encoding: 'utf8' })
        expect(stdout).toBe(`${1 << 20}\n`)
      }
      expect(requestsOf(dir, ends)['getattr']).toBeLessThan(500)
    }),
)

test('attributes cached by the kernel match the filesystem', { timeout: 300_000 }, () =>
  withMount({ driver: 'kernel' }, async mount => {
    const { dir } = mount
    const shell = (script: string): void => void execFileSync('sh', ['-ec', script], { cwd: dir })
    const all = (): Record<string, unknown> => {
      const found: Record<string, unknown> = {}
      for (const name of ['.', ...readdirSync(dir, { recursive: true, encoding: 'utf8' })].sort()) {
        const stats = lstatSync(join(dir, name), { bigint: true })
        const { ino, mode, nlink, uid, gid, size, blocks, mtimeNs, ctimeNs } = stats
        found[name] = { ino, mode, nlink, uid, gid, size, blocks, mtimeNs, ctimeNs }
      }
      return found
    }
    const steps = [
      'mkdir -p a/b; for i in 1 2 3 4 5 6; do echo $i > a/f$i; done; head -c 300000 /dev/urandom > big; ln -s big link',
      'echo more >> a/f1; chmod 600 a/f2; ln a/f3 a/hard; mv a/f4 a/b/f4; rm a/f5',
      'chmod 4755 a/f6; chown 0:0 a; head -c 5000 /dev/zero | dd of=big conv=notrunc status=none',
      'truncate -s 1000 big; rm a/hard; mkdir a/c; rmdir a/b 2>/dev/null || true',
      'fallocate -p -o 0 -l 4096 big; cp --reflink=auto big copy; touch -d 2001-01-01 a/f1; setfattr -n user.x -v y a/f2 || true',
      ': > a/f1; mv a/f2 a/f3',
    ]
    for (const step of steps) {
      all()
      shell(step)
      all()
      await run('sync', dir)
      await sleep(BRIEFLY_MS)
    }
    const kept = all()
    await mount.remount()
    expect(all()).toEqual(kept)
  }),
)

test('new access times are visible after the kernel cached earlier ones', { timeout: 300_000 }, () =>
  withMount({ driver: 'kernel' }, async ({ dir }) => {
    const [path, copy] = [join(dir, 'file'), join(dir, 'copy')]
    writeFileSync(path, 'x'.repeat(70_000))
    await run('sync', dir)
    await sleep(BRIEFLY_MS)
    const before = lstatSync(path, { bigint: true }).atimeNs
    execFileSync('dd', [`if=${path}`, 'of=/dev/null', 'iflag=direct', 'status=none'])
    const read = lstatSync(path, { bigint: true }).atimeNs
    expect(read).toBeGreaterThan(before)
    writeFileSync(path, 'y'.repeat(70_000))
    await sleep(BRIEFLY_MS)
    lstatSync(path)
    // copy_file_range(2), which does not tell the kernel's own caches that the source was read.
    execFileSync('python3', [
      '-c',
      'import os,sys\na=os.open(sys.argv[1],os.O_RDONLY);b=os.open(sys.argv[2],os.O_WRONLY|os.O_CREAT)\nos.copy_file_range(a,b,70000)',
      path,
      copy,
    ])
    expect(lstatSync(path, { bigint: true }).atimeNs).toBeGreaterThan(read)
  }),
)

test(
  'names created by clone, undo or rollback are visible after a cached absence',
  { timeout: 300_000 },
  () =>
    withMount({ driver: 'kernel' }, async ({ dir }) => {
      const [file, clone, other] = [join(dir, 'd/file'), join(dir, 'd/clone'), join(dir, 'd/other')]
      mkdirSync(join(dir, 'd'))
      writeFileSync(file, 'one')
      await run('sync', dir)
      const listed = lstatSync(join(dir, 'd'), { bigint: true }).mtimeNs
      expect(existsSync(clone)).toBe(false)
      await run('clone', file, clone)
      expect(existsSync(clone)).toBe(true)
      expect(lstatSync(join(dir, 'd'), { bigint: true }).mtimeNs).toBeGreaterThan(listed)

      execFileSync('rm', [file])
      const { stdout } = await runZblkfs('sync', dir)
      expect(existsSync(file)).toBe(false)
      await run('undo', stdout.trim(), '--db', dir)
      expect(readFileSync(file, 'utf8')).toBe('one')

      expect(existsSync(other)).toBe(false)
      const failed = await runZblkfs('txn', dir, '--', 'sh', '-c', `mv ${file} ${other}; ls ${file}; false`)
      expect(failed.exitCode).toBe(1)
      expect(existsSync(other)).toBe(false)
      expect(readFileSync(file, 'utf8')).toBe('one')
    }),
)
