/** Packs of mounted databases, as people see them. */
import { mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { PackReport } from '../../../store/capabilities.ts'
import { databaseBytes } from '../../tools/database-files.ts'
import { runZblkfs, ZBLKFS, zblkfsOutput } from '../../tools/run-zblkfs.ts'
import { withMount } from '../../tools/mounted.ts'

const MIB = 1 << 20
const WAIT_MS = 30_000

async function packed(...parameters: readonly string[]): Promise<PackReport> {
  return JSON.parse(await zblkfsOutput('pack', '--json', ...parameters)) as PackReport
}

test('with history=0 the space of a deleted file is freed automatically', async () => {
  await withMount({ options: ['history=0'] }, async ({ dir, db }) => {
    await writeFile(join(dir, 'kept'), Buffer.alloc(2 * MIB, 1))
    await writeFile(join(dir, 'big'), Buffer.alloc(24 * MIB, 7))
    await zblkfsOutput('sync', dir)
    await rm(join(dir, 'big'))
    await zblkfsOutput('sync', dir)
    const end = Date.now() + WAIT_MS
    while ((await databaseBytes(db)) > 4 * MIB && Date.now() < end) await sleep(100)
    expect(await databaseBytes(db)).toBeLessThan(4 * MIB)
    expect(Buffer.compare(await readFile(join(dir, 'kept')), Buffer.alloc(2 * MIB, 1))).toBe(0)
  })
})

test('a moment is kept only while it is read', async () => {
  await withMount({ options: ['history=1s'] }, async ({ dir, db }) => {
    await writeFile(join(dir, 'a'), Buffer.alloc(16 * MIB, 1))
    const tid = (await zblkfsOutput('sync', dir)).trim()
    const past = await open(join(dir, `@${tid}`, 'a'))
    try {
      await writeFile(join(dir, 'a'), Buffer.alloc(MIB, 2))
      await zblkfsOutput('sync', dir)
      await sleep(5000)
      expect(await databaseBytes(db)).toBeGreaterThan(16 * MIB)
      const bytes = Buffer.alloc(16 * MIB)
      await past.read(bytes, 0, bytes.length, 0)
      expect(Buffer.compare(bytes, Buffer.alloc(16 * MIB, 1))).toBe(0)
    } finally {
      await past.close()
    }
    const end = Date.now() + WAIT_MS
    while ((await databaseBytes(db)) > 4 * MIB && Date.now() < end) await sleep(100)
    expect(await databaseBytes(db)).toBeLessThan(4 * MIB)
    await expect(stat(join(dir, `@${tid}`))).rejects.toThrow('ENOENT')
  })
})

test('a pack of a mount in use keeps open moments; dropped moments cannot be opened', async () => {
  await withMount({}, async mount => {
    const { dir, db } = mount
    const file = join(dir, 'a')
    await writeFile(file, Buffer.alloc(8 * MIB, 1))
    const first = (await zblkfsOutput('sync', dir)).trim()
    await writeFile(file, Buffer.alloc(8 * MIB, 2))
    const second = (await zblkfsOutput('sync', dir)).trim()
    await writeFile(file, Buffer.alloc(8 * MIB, 3))
    await zblkfsOutput('sync', dir)
    expect((await packed(dir)).revisionsDropped, 'within seven days nothing goes').toBe(0)
    const past = await open(join(dir, `@${first}`, 'a'))
    try {
      const report = await packed(dir, '--keep', '0')
      expect(report.revisionsDropped).toBeGreaterThan(0)
      await expect(stat(join(dir, `@${second}`))).rejects.toThrow('ENOENT')
      const bytes = Buffer.alloc(8 * MIB)
      await past.read(bytes, 0, bytes.length, 0)
      expect(Buffer.compare(bytes, Buffer.alloc(8 * MIB, 1))).toBe(0)
    } finally {
      await past.close()
    }
    expect(Buffer.compare(await readFile(file), Buffer.alloc(8 * MIB, 3))).toBe(0)
    await mount.unmount()
    await packed(db, '--keep', '0')
    expect(await databaseBytes(db)).toBeLessThan(9 * MIB)
    expect(await zblkfsOutput('fsck', '--data', db)).toContain('is clean')
    for (const exact of [[], ['--exact']]) {
      const lines = await zblkfsOutput('df', ...exact, '--json', '--to', '0s', db)
      const usage = JSON.parse(lines) as Record<string, number>
      expect(usage['fileBytes']).toBe(await databaseBytes(db))
      expect(usage['liveBytes']).toBeGreaterThan(8 * MIB)
      expect(usage['historyBytes']).toBe(0)
    }
  })
})

test('df shows what a pack would free, and a pack by database name uses the mount', async () => {
  await withMount({ options: ['history=all'] }, async ({ dir, db }) => {
    await mkdir(join(dir, 'd'))
    await writeFile(join(dir, 'd', 'file'), Buffer.alloc(4 * MIB, 5))
    await writeFile(join(dir, 'gone'), Buffer.alloc(6 * MIB, 6))
    await zblkfsOutput('sync', dir)
    await rm(join(dir, 'gone'))
    await writeFile(join(dir, 'd', 'file'), Buffer.alloc(MIB, 7), { flag: 'r+' })
    await zblkfsOutput('sync', dir)
    const lines = (await zblkfsOutput('df', '--files', '--exact', '--json', '--to', '0s', dir))
      .trim()
      .split('\n')
    const [file, gone, usage] = lines.map(line => JSON.parse(line) as Record<string, unknown>)
    expect(file).toMatchObject({ path: '/d/file', sizeBytes: 4 * MIB, storedBytes: 4 * MIB })
    expect(gone).toMatchObject({ path: '/gone', storedBytes: 0, gone: true })
    const past = [file, gone].map(of => Number(of?.['historyBytes']) / MIB)
    for (const [i, mib] of [1, 6].entries()) {
      expect(past[i]).toBeGreaterThan(mib * 0.98)
      expect(past[i]).toBeLessThan(mib * 1.05)
    }
    expect(usage?.['historyBytes']).toBeGreaterThan(6 * MIB)
    const [listed, summed, ...others] = (await zblkfsOutput('df', '--files', '--json', '--to', '0s', dir))
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>)
    expect(listed).toEqual({ path: '/d/file', sizeBytes: 4 * MIB, storedBytes: 4 * MIB })
    expect(summed).toMatchObject({ inodes: 3 })
    expect(others).toEqual([])
    for (const figure of ['liveBytes', 'historyBytes'] as const) {
      expect(Number(summed?.[figure])).toBeGreaterThan(Number(usage?.[figure]) * 0.98)
      expect(Number(summed?.[figure])).toBeLessThan(Number(usage?.[figure]) * 1.02)
    }
    const { bytesBefore, bytesAfter } = await packed('--keep', '0', db)
    for (const promised of [usage, summed].map(each => Number(each?.['packFreesBytes']))) {
      expect(bytesBefore - bytesAfter).toBeGreaterThan(promised * 0.95)
      expect(bytesBefore - bytesAfter).toBeLessThan(promised * 1.2)
    }
  })
})

test('wrong usage gives an error message', async () => {
  const both = await runZblkfs('pack', '--keep', '1d', '--before', '2d', 'x.db')
  expect(both).toMatchObject({ exitCode: 2 })
  expect(both.stderr).toContain('use one of them')
  const odd = await runZblkfs('pack', '--keep', 'soon', 'x.db')
  expect(odd).toMatchObject({ exitCode: 2 })
  expect(odd.stderr).toContain('--keep soon is not a duration')
  const missing = await runZblkfs('pack', '/tmp/zblkfs-there-is-none.db')
  expect(missing).toMatchObject({ exitCode: 1 })
  expect(missing.stderr).toContain('does not exist')
})

test('moments in use by another mount stay until it is unmounted', async () => {
  await withMount({}, async ({ dir, db, scratch }) => {
    const other = join(scratch, 'other')
    await mkdir(other)
    await writeFile(join(dir, 'a'), Buffer.alloc(4 * MIB, 1))
    await zblkfsOutput('sync', dir)
    // One moment: a mount that is only read-only follows the writer.
    await zblkfsOutput('mount', '-o', 'at=now', db, other)
    try {
      await writeFile(join(dir, 'a'), Buffer.alloc(4 * MIB, 2))
      await zblkfsOutput('sync', dir)
      await packed(dir, '--keep', '0')
      expect(Buffer.compare(await readFile(join(other, 'a')), Buffer.alloc(4 * MIB, 1))).toBe(0)
    } finally {
      await zblkfsOutput('umount', other)
    }
    await packed(dir, '--keep', '0')
    expect(await databaseBytes(db)).toBeLessThan(5 * MIB)
    expect((await readdir(scratch)).filter(name => name.includes('reader'))).toEqual([])
  })
})

test('a pack is refused during a delimited transaction', async () => {
  await withMount({}, async ({ dir, scratch }) => {
    const script = join(scratch, 'in-transaction.sh')
    await writeFile(script, `${ZBLKFS} pack --keep 0 ${dir}; echo exit $?`)
    const { stdout, stderr } = await runZblkfs('txn', dir, '--', 'sh', script)
    expect(stderr + stdout).toContain('a transaction is open on this mount')
    expect(stdout).toContain('exit 1')
    await packed(dir, '--keep', '0')
  })
})
