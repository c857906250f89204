/** A check of every byte continues where an interrupted one ended. */
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { PagedBitmap } from '../../../store/paged-bitmap.ts'
import { BulkGaps } from '../../../store/indexed/check/bulk-gaps.ts'
import type { BulkRange, BulkScan } from '../../../store/indexed/bulk.ts'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'
import { CheckFile } from '../../../store/sqlite/check/check-file.ts'
import { logDirectory } from '../../../store/sqlite/log.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

const FILE_BYTES = 8 << 20

async function database(): Promise<string> {
  const path = temporaryDatabase()
  const paths = await openPaths(path)
  await paths.write('file', Buffer.alloc(FILE_BYTES, 'bytes of the file '))
  await paths.fs.close()
  return path
}

/** Checks every byte; resolves to the damages and to where it went on. */
async function check(
  path: string,
  restart = false,
): Promise<{ readonly isDamaged: boolean; readonly from: number }> {
  let from = 0
  const { found } = await checkDatabase(path, {
    data: true,
    restart,
    repair: false,
    report: () => undefined,
    progress: () => undefined,
    onResumed: bytes => void (from = bytes),
  })
  return { isDamaged: found > 0, from }
}

/** Changes a byte of the log. */
function damage(path: string, at: number): void {
  const segment = join(logDirectory(path), '00000000')
  const bytes = readFileSync(segment)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(segment, bytes)
}

test('what an interrupted check has read is not read again', async () => {
  const path = await database()
  const half = FILE_BYTES / 2
  damage(path, 2 * UNIT_BYTES + 9)
  new CheckFile(path).note(half)
  expect(await check(path)).toEqual({ isDamaged: false, from: half })
  expect(existsSync(join(logDirectory(path), 'check')), 'after its end').toBe(false)
  expect(await check(path)).toEqual({ isDamaged: true, from: 0 })
  new CheckFile(path).note(half)
  expect(await check(path, true), 'restarted').toEqual({ isDamaged: true, from: 0 })
})

test('what was read of the original is read of a copy', async () => {
  const path = await database()
  new CheckFile(path).note(FILE_BYTES / 2)
  const copy = `${path}.copy`
  cpSync(path, copy)
  cpSync(logDirectory(path), logDirectory(copy), { recursive: true })
  damage(copy, 2 * UNIT_BYTES + 9)
  expect(await check(copy)).toEqual({ isDamaged: true, from: 0 })
})

test('the rest is read', async () => {
  const path = await database()
  damage(path, FILE_BYTES - 9)
  new CheckFile(path).note(FILE_BYTES / 2)
  expect(await check(path)).toEqual({ isDamaged: true, from: FILE_BYTES / 2 })
})

test('what is noted of another database, long ago, or not at all legible does not count', async () => {
  const [path, other] = [await database(), await database()]
  const file = join(logDirectory(path), 'check')
  new CheckFile(other).note(4096)
  writeFileSync(file, readFileSync(join(logDirectory(other), 'check')))
  expect(new CheckFile(path).begun()).toBeUndefined()
  new CheckFile(path).note(4096)
  const noted = JSON.parse(readFileSync(file, 'latin1')) as { startedMs: number }
  expect(new CheckFile(path).begun()?.startedMs).toBe(noted.startedMs)
  writeFileSync(file, JSON.stringify({ ...noted, startedMs: noted.startedMs - 8 * 86_400_000 }))
  expect(new CheckFile(path).begun(), 'a week ago').toBeUndefined()
  writeFileSync(file, '{"id":')
  expect(new CheckFile(path).begun()).toBeUndefined()
})

test('only what precedes the first damage is noted, and several groups are read at a time', async () => {
  const used = new PagedBitmap()
  used.addRange(0, 512 * 40)
  let [running, most] = [0, 0]
  const asked: BulkRange[] = []
  const bulk = {
    verify: async ([lo, hi]: BulkRange, everyByte: boolean) => {
      if (everyByte) asked.push([lo, hi])
      most = Math.max(most, ++running)
      await new Promise(resolve => setTimeout(resolve, 1))
      running--
      return lo > 30e6 ? [{ lo, hi: lo + UNIT_BYTES, reason: 'damaged' }] : []
    },
  } as unknown as BulkScan
  const noted: number[] = []
  const gaps = new BulkGaps()
  await gaps.find(bulk, used, true, () => undefined, {
    from: 20e6,
    note: position => void noted.push(position),
  })
  expect(asked.every(([lo]) => lo >= 20e6)).toBe(true)
  expect(gaps.within(0, 100e6).length).toBeGreaterThan(0)
  expect(noted).toEqual([])
  expect(most).toBe(4)
  gaps.close()
  used.close()
})

test('the progress of reading every byte is reported from the start, in bytes', async () => {
  const steps: { readonly done: number; readonly total: number }[] = []
  await checkDatabase(await database(), {
    data: true,
    repair: false,
    report: () => undefined,
    progress: (what, done, total) => void (what === 'the log' && steps.push({ done, total })),
  })
  expect(steps.length).toBeGreaterThan(2)
  expect(steps[0]?.done).toBeLessThan(FILE_BYTES / 2)
  expect(steps.at(-1)?.done).toBeGreaterThan(FILE_BYTES / 2)
  for (const { total } of steps) expect(total).toBeGreaterThanOrEqual(FILE_BYTES)
})
