/** How the log is written: past the kernel's cache where the filesystem can do that, and in pieces of any length. */
import { execFileSync } from 'node:child_process'
import { constants, openSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TID_MAX, TID_NONE, knownOid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { temporaryDirectory } from './temporary-directory.ts'
import { newOids } from '../../tools/new-oids.ts'

let directory: string
beforeEach(async () => {
  directory = await temporaryDirectory()
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

/** Commits a record of each length by itself, then all of them together, and reads them back from a store opened anew. */
async function roundTrip(path: string, lengths: readonly number[]): Promise<void> {
  let store = await openSqliteStore(path, { create: true })
  const oids = await newOids(store, 2 * lengths.length)
  const records = [...lengths, ...lengths].map((length, index) => ({
    oid: knownOid(oids[index] ?? 0),
    body: new Uint8Array(length).map((_, at) => (at * 7 + index + (at >> 12)) % 251),
  }))
  const change = ({
    oid,
    body,
  }: (typeof records)[number]): Parameters<typeof store.commit>[0]['changes'][number] => ({
    oid,
    base: TID_NONE,
    // In two parts that end within a unit.
    record: { head: new Uint8Array(3), body: [body.subarray(0, 5000), body.subarray(5000)] },
  })
  for (const record of records.slice(0, lengths.length)) await store.commit({ changes: [change(record)] })
  await store.commit({ changes: records.slice(lengths.length).map(change) })
  await store.close()
  store = await openSqliteStore(path)
  for (const { oid, body } of records) {
    const part = await store.loadPart(oid, TID_MAX, 3, body.length)
    expect(Buffer.compare(part?.bytes ?? Buffer.alloc(0), body)).toBe(0)
  }
  await store.close()
}

const LENGTH = fc.oneof(fc.integer({ min: 65_536, max: 600_000 }), fc.integer({ min: 1 << 20, max: 5 << 20 }))

test('transactions of any length read back', async () => {
  let count = 0
  await fc.assert(
    fc.asyncProperty(fc.array(LENGTH, { minLength: 1, maxLength: 4 }), lengths =>
      roundTrip(`${directory}/${++count}.zblk`, lengths),
    ),
    { numRuns: 12 },
  )
})

describe.runIf(process.getuid?.() === 0)('on a filesystem that writes through the cache alone', () => {
  beforeEach(() => execFileSync('mount', ['-t', 'ramfs', 'ramfs', directory]))
  afterEach(() => execFileSync('umount', ['-l', directory]))

  test('the same is written', async () => {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT
    expect(() => openSync(`${directory}/file`, flags)).toThrow('EINVAL')
    await roundTrip(`${directory}/test.zblk`, [100_000, 3 << 20, 5_000_000])
  })
})
