/** What a database keeps in its bucket, when it deletes from it, and what it does when the bucket fails or is damaged. Longer than 400 lines: one server and one set-up serve all cases. */
/* oxlint-disable max-lines -- see above */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { CorruptRecordError } from '../../../store/errors.ts'
import { TID_MAX, TID_NONE, knownOid, type Oid, type Tid } from '../../../store/ids.ts'
import { keptMoments } from '../../../store/kept-moments.ts'
import { openPostgresStore, type OpenPostgresOptions } from '../../../store/postgres/open-postgres-store.ts'
import { parseSegmentKey, SEGMENTS } from '../../../store/s3/segment.ts'
import type { StorageDamage } from '../../../store/capabilities.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import { hasPostgres, makePostgresDatabase, type TestPostgresDatabase } from '../../tools/postgres-server.ts'
import { S3Proxy } from '../../tools/s3-proxy.ts'
import { hasSwift, makeBucket, type TestBucket } from '../../tools/swift-server.ts'
import { MARKER, recordOf } from '../contract/graph.ts'

const MIB = 1 << 20
const LIMITS = { retryMs: 3000, idleMs: 2000, mibMs: 1000 }

interface Setting {
  readonly database: TestPostgresDatabase
  readonly bucket: TestBucket
  readonly open: (options?: OpenPostgresOptions) => Promise<WritableStore>
  readonly openReader: (options?: OpenPostgresOptions) => Promise<Store>
  readonly warnings: string[]
}

/** A record that refers to no other object (contract/graph.ts), filled with bytes that do not repeat. */
function body(bytes: number, seed: number): Buffer {
  const record = Buffer.from(recordOf([], bytes))
  for (let at = 2; at + 4 < bytes; at += 64)
    record.write(((seed * 7919 + at) % 9973).toString().padStart(4), at)
  // Only spaces may follow the list.
  return Buffer.concat([
    Buffer.from('[]'),
    Buffer.from(record.subarray(2).map(byte => (byte >= 48 ? 9 + (byte % 2) : 32))),
  ])
}

interface Added {
  readonly oid: Oid
  readonly tid: Tid
  readonly bytes: Buffer
}

async function add(store: WritableStore, length: number, seed: number): Promise<Added> {
  const oid = (await store.allocateOids(1)).first
  const bytes = body(length, seed)
  const tid = await store.commit({
    changes: [{ oid, base: TID_NONE, record: { head: new Uint8Array(), body: [bytes] } }],
  })
  return { oid, tid, bytes }
}

async function expectThere(store: Store, { oid, tid, bytes }: Added): Promise<void> {
  const [found] = await store.load([oid], tid)
  expect(Buffer.compare(found?.record ?? Buffer.alloc(0), bytes)).toBe(0)
}

const remove = async (store: WritableStore, { oid, tid }: Added): Promise<Tid> =>
  await store.commit({ changes: [{ oid, base: tid, record: null }] })

/** Drops what is not present now. */
async function pack(store: WritableStore): Promise<void> {
  const { packing } = store.capabilities
  const kept = keptMoments(await store.lastTid(), (await store.capabilities.pinning?.pinned()) ?? [])
  await packing?.keep(kept)
  // The marker follows references from the root; these objects have none.
  await packing?.pack({
    kept,
    marker: new URL('mark-all.ts', MARKER),
    rest: 0,
    spareBytes: 0,
    onProgress: () => {},
  })
}

async function damagesIn(reader: Store, everyByte: boolean): Promise<readonly StorageDamage[]> {
  const found: StorageDamage[] = []
  const options = { upTo: TID_MAX, everyByte, progress: () => {} }
  for await (const damage of reader.capabilities.checking?.storage(options) ?? []) found.push(damage)
  return found
}

describe.skipIf(!hasPostgres || !hasSwift)('a database with a bucket', () => {
  let proxy: S3Proxy
  beforeAll(async () => {
    const bucket = await makeBucket()
    proxy = await S3Proxy.start(bucket.endpoint)
    bucket.remove()
  })
  afterAll(async () => await proxy.stop())

  async function set(): Promise<Setting> {
    const database = await makePostgresDatabase()
    const bucket = await makeBucket()
    proxy.fault = () => undefined
    proxy.seen.length = 0
    const warnings: string[] = []
    const opened: Store[] = []
    const openAny = async (options: OpenPostgresOptions): Promise<Store> => {
      const store = await openPostgresStore(database.url, {
        create: true,
        bulk: bucket.url.replace(bucket.endpoint, proxy.endpoint),
        bulkCache: { maxBytes: 0 },
        bulkTuning: { limits: LIMITS },
        warn: message => void warnings.push(message),
        ...options,
      })
      opened.push(store)
      return store
    }
    onTestFinished(async () => {
      proxy.fault = () => undefined
      for (const store of opened) await store.close()
      bucket.remove()
      await database.remove()
    })
    return {
      database,
      bucket,
      warnings,
      open: async (options = {}) => (await openAny(options)) as WritableStore,
      openReader: async (options = {}) => await openAny({ ...options, readOnly: true }),
    }
  }

  const requests = (method: string): readonly string[] =>
    proxy.seen
      .filter(({ method: name, url }) => name === method && url.includes(SEGMENTS))
      .map(({ url }) => url)

  const segmentsIn = async ({ client }: TestBucket): Promise<readonly string[]> =>
    (await client.list(SEGMENTS, '', 1000)).map(({ key }) => key)

  test('new segments are compressed if the database is set so; earlier ones stay readable', async () => {
    const { open, openReader, database } = await set()
    const before = await open()
    const plain = await add(before, 2 * MIB, 1)
    await before.close()
    const store = await open({ compression: 'zstd' })
    expect(await store.capabilities.compressing?.compression()).toBe('zstd')
    const first = await add(store, 2 * MIB, 2)
    await store.close()
    const again = await open()
    const second = await add(again, 2 * MIB, 3)
    const reader = await openReader()
    for (const added of [plain, first, second]) await expectThere(reader, added)
    const rows = await database.execute('SELECT bytes::integer AS bytes FROM zblkfs.segment ORDER BY epoch')
    const [plainBytes = 0, ...compressed] = rows.map(({ bytes }) => Number(bytes))
    expect(plainBytes).toBeGreaterThan(2 * MIB)
    expect(compressed).toHaveLength(2)
    for (const bytes of compressed) expect(bytes).toBeLessThan(plainBytes / 2)
    expect(await damagesIn(reader, true)).toEqual([])
    const other = await makePostgresDatabase()
    await expect(openPostgresStore(other.url, { create: true, compression: 'zstd' })).rejects.toThrow(
      'needs a bucket',
    )
    await other.remove()
  })

  test('little data is committed without an upload, much data after the upload of its segments', async () => {
    const { open, bucket, database } = await set()
    const store = await open()
    const small = await add(store, 200_000, 1)
    expect(requests('PUT')).toEqual([])
    const large = await add(store, 20 * MIB + 300_000, 2)
    expect(requests('PUT')).toHaveLength(3)
    const medium = await add(store, 3 * MIB, 3)
    const keys = await segmentsIn(bucket)
    expect(keys).toHaveLength(4)
    expect(new Set(keys.map(key => parseSegmentKey(key)?.epoch))).toEqual(new Set([1]))
    for (const added of [small, large, medium]) await expectThere(store, added)
    expect(await database.execute('SELECT count(*)::integer AS count FROM zblkfs.segment')).toEqual([
      { count: 4 },
    ])
  })

  test('small commits are moved into a segment, and read as before', async () => {
    const { open, openReader, database } = await set()
    const store = await open()
    const reader = await openReader()
    const all: Added[] = []
    for (let number = 0; number < 20; number++) all.push(await add(store, 512 << 10, number))
    // Its extents are remembered as absent.
    await expectThere(reader, all[0] as Added)
    await vi.waitFor(() => expect(requests('PUT')).toHaveLength(1), { timeout: 20_000 })
    await vi.waitFor(
      async () =>
        expect(await database.execute('SELECT sum(len) > 7000000 AS moved FROM zblkfs.extent')).toEqual([
          { moved: true },
        ]),
      { timeout: 20_000 },
    )
    for (const added of all) {
      await expectThere(store, added)
      await expectThere(reader, added)
    }
    expect(await damagesIn(reader, true)).toEqual([])
  })

  test.each(['off', 'zstd'] as const)(
    'a pack rewrites mostly dead segments, and later deletes them; readers continue (%s)',
    async compression => {
      const { open, openReader, bucket } = await set()
      const ages = { releasedMs: 400, orphanMs: 86_400_000 }
      const store = await open({ compression, bulkTuning: { limits: LIMITS, ages } })
      const kept: Added[] = []
      for (let number = 0; number < 3; number++) {
        const { first } = await store.allocateOids(4)
        const records = Array.from({ length: 4 }, (_, index) => body(MIB, number * 10 + index))
        const tid = await store.commit({
          changes: records.map((bytes, index) => ({
            oid: knownOid(first + index),
            base: TID_NONE,
            record: { head: new Uint8Array(), body: [bytes] },
          })),
        })
        kept.push({ oid: first, tid, bytes: records[0] as Buffer })
        await store.commit({
          changes: [1, 2, 3].map(index => ({ oid: knownOid(first + index), base: tid, record: null })),
        })
      }
      const before = await segmentsIn(bucket)
      expect(before).toHaveLength(3)
      const reader = await openReader()
      const last = await reader.lastTid()
      await reader.capabilities.pinning?.pin([last])
      for (const added of kept) await expectThere(reader, { ...added, tid: last })
      await pack(store)
      for (const added of kept) await expectThere(store, { ...added, tid: last })
      await new Promise(resolve => setTimeout(resolve, 500))
      await add(store, 100, 1)
      await pack(store)
      const after = await segmentsIn(bucket)
      expect(after).toHaveLength(1)
      expect(before).not.toContain(after[0])
      // The reader remembers extents in objects that are gone.
      for (const added of kept) await expectThere(reader, { ...added, tid: last })
      expect(await damagesIn(reader, true)).toEqual([])
      for (const added of kept) await expectThere(await openReader(), { ...added, tid: last })
    },
  )

  test('moments pinned by a reader survive a pack', async () => {
    const { open, openReader } = await set()
    const store = await open({ bulkTuning: { limits: LIMITS, ages: { releasedMs: 0, orphanMs: 0 } } })
    const old = await add(store, 2 * MIB, 1)
    const reader = await openReader()
    await reader.capabilities.pinning?.pin([old.tid])
    await remove(store, old)
    await pack(store)
    await expectThere(reader, old)
    await reader.close()
    await add(store, 100, 1)
    await pack(store)
    expect((await store.capabilities.measuring?.space())?.bulkBytes).toBeLessThan(MIB)
  })

  test('uploads of a failed transaction are deleted once old; other objects that no row names are kept', async () => {
    const { open, bucket, warnings } = await set()
    const first = await open()
    const added = [await add(first, 2 * MIB, 1)]
    proxy.fault = ({ method, url }) => (method === 'PUT' && url.endsWith('4') ? 'busy' : undefined)
    await expect(add(first, 20 * MIB, 2)).rejects.toMatchObject({ code: 's3-gone' })
    proxy.fault = () => undefined
    expect(await segmentsIn(bucket)).toContain('segments/00000001/00000002')
    added.push(await add(first, 2 * MIB, 3))
    await first.close()
    // Uploaded after the state of a backup from which the tables were restored.
    const later = ['segments/00000001/00000099', 'segments/00000001/0000009a']
    for (const key of later) await bucket.client.put(key, [Buffer.from('of a later transaction')])
    await bucket.client.put('segments/other', [Buffer.from('not a segment')])
    const store = await open()
    added.push(await add(store, 2 * MIB, 4))
    await pack(store)
    expect(await segmentsIn(bucket)).toContain('segments/00000001/00000002')
    await store.close()
    // Servers report times in seconds.
    await new Promise(resolve => setTimeout(resolve, 2500))
    const last = await open({ bulkTuning: { ages: { releasedMs: 0, orphanMs: 0 } } })
    await add(last, 100, 2)
    await pack(last)
    const named = ['segments/00000001/00000001', 'segments/00000001/00000005', 'segments/00000002/00000001']
    expect(await segmentsIn(bucket)).toEqual([...named, ...later, 'segments/other'].toSorted())
    expect(warnings.join()).toContain('has 2 segments that no transaction of this database names')
    for (const one of added) await expectThere(last, one)
  })

  test('failed uploads at the end of a writer are deleted once old, if it was closed', async () => {
    const { open, bucket } = await set()
    const first = await open()
    proxy.fault = ({ method, url }) => (method === 'PUT' && url.endsWith('3') ? 'busy' : undefined)
    await expect(add(first, 20 * MIB, 2)).rejects.toMatchObject({ code: 's3-gone' })
    proxy.fault = () => undefined
    expect(await segmentsIn(bucket)).toHaveLength(2)
    await first.close()
    await new Promise(resolve => setTimeout(resolve, 2500))
    const store = await open({ bulkTuning: { ages: { releasedMs: 0, orphanMs: 0 } } })
    await add(store, 100, 1)
    await pack(store)
    expect(await segmentsIn(bucket)).toEqual([])
  })

  test('a database restored from a backup reuses no key and deletes nothing', async () => {
    const { open, openReader, bucket, database, warnings } = await set()
    const first = await open()
    const kept = await add(first, 2 * MIB, 1)
    await first.close()
    // As a backup has it: the bucket has segments of two later writers.
    await bucket.client.put('segments/00000002/00000001', [Buffer.from('of a transaction that is lost')])
    await bucket.client.put('segments/00000009/00000001', [Buffer.from('of another')])
    const store = await open({ bulkTuning: { ages: { releasedMs: 0, orphanMs: 0 } } })
    const added = await add(store, 2 * MIB, 2)
    expect((await segmentsIn(bucket)).at(-1)).toBe('segments/0000000a/00000001')
    await remove(store, kept)
    await pack(store)
    expect(await segmentsIn(bucket)).toHaveLength(4)
    expect(warnings.join()).toContain('nothing is deleted')
    await expectThere(await openReader(), added)
    expect(await database.execute("SELECT value FROM zblkfs.meta WHERE name = 'bucket doubt'")).toEqual([
      { value: '9' },
    ])
  })

  test('while the bucket fails, a commit fails within a time limit and stores nothing; later it succeeds', async () => {
    const { open, openReader, warnings } = await set()
    const store = await open()
    const before = await add(store, 2 * MIB, 1)
    proxy.fault = ({ method }) => (method === 'PUT' ? 'busy' : undefined)
    await expect(add(store, 20 * MIB, 2)).rejects.toMatchObject({ code: 's3-gone' })
    expect(await store.lastTid()).toBe(before.tid)
    expect(store.capabilities.connection?.state()).toMatchObject({ state: 'reconnecting' })
    expect(warnings.join()).toContain('does not answer')
    // Little data does not need it.
    const small = await add(store, 1000, 3)
    proxy.fault = () => undefined
    const after = await add(store, 20 * MIB, 4)
    expect(store.capabilities.connection?.state()).toEqual({ state: 'connected' })
    const reader = await openReader()
    for (const added of [before, small, after]) await expectThere(reader, added)
    proxy.fault = ({ method }) => (method === 'GET' ? 'reset' : undefined)
    await expect(reader.load([before.oid], before.tid)).resolves.toBeDefined()
    await expect(store.load([before.oid], before.tid)).rejects.toMatchObject({ code: 's3-gone' })
  })

  test('a byte changed in transit is read again; one changed in the bucket, or a missing object, is damage', async () => {
    const { open, openReader, bucket } = await set()
    const store = await open()
    const good = await add(store, 2 * MIB, 1)
    const flipped = await add(store, 2 * MIB, 2)
    const missing = await add(store, 2 * MIB, 3)
    let flips = 0
    proxy.fault = ({ method, url }) =>
      method === 'GET' && url.includes(SEGMENTS) && flips++ === 0 ? 'flip' : undefined
    await expectThere(await openReader(), good)
    expect(flips).toBeGreaterThan(1)
    proxy.fault = () => undefined
    const [, second = '', third = ''] = await segmentsIn(bucket)
    const size = (await bucket.client.size(second)) ?? 0
    const bytes = await bucket.client.get(second, 0, size)
    bytes[size >> 1] = (bytes[size >> 1] ?? 0) ^ 16
    await bucket.client.put(second, [bytes])
    await bucket.client.delete(third)
    const reader = await openReader()
    await expectThere(reader, good)
    for (const { oid, tid } of [flipped, missing])
      await expect(reader.load([oid], tid)).rejects.toBeInstanceOf(CorruptRecordError)
    expect((await damagesIn(reader, false)).map(({ oid }) => oid)).toEqual([missing.oid])
    const damages = await damagesIn(reader, true)
    expect(damages.map(({ oid }) => oid)).toEqual([flipped.oid, missing.oid])
    const [{ lo = 0, hi = 0 } = {}] = damages
    expect(hi - lo).toBe(4096)
    // The rest of the record can be read.
    const part = await reader.loadPart(flipped.oid, flipped.tid, 0, 100_000)
    expect(Buffer.compare(part?.bytes ?? Buffer.alloc(0), flipped.bytes.subarray(0, 100_000))).toBe(0)
  })

  test('a disk cache is persistent, bounded, and serves no wrong byte', async () => {
    const { open, openReader, warnings } = await set()
    const directory = mkdtempSync(join(tmpdir(), 'zblkfs-cache-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    const store = await open()
    const added = await add(store, 6 * MIB, 1)
    const bulkCache = { directory, maxBytes: 40 * MIB }
    const first = await openReader({ bulkCache })
    await expectThere(first, added)
    await first.close()
    const gets = requests('GET').length
    const second = await openReader({ bulkCache })
    await expectThere(second, added)
    await second.close()
    expect(requests('GET')).toHaveLength(gets)
    const [id = ''] = readdirSync(directory)
    const frames = join(directory, id, 'frames')
    const bytes = readFileSync(frames)
    for (let at = 5000; at < bytes.length; at += 50_000) bytes[at] = (bytes[at] ?? 0) ^ 1
    writeFileSync(frames, bytes)
    const third = await openReader({ bulkCache })
    await expectThere(third, added)
    await third.close()
    expect(requests('GET').length).toBeGreaterThan(gets)
    const small = { directory, maxBytes: 3 * MIB }
    const bounded = await openReader({ bulkCache: small })
    await expectThere(bounded, added)
    await bounded.close()
    expect(statSync(frames).size + statSync(join(directory, id, 'index')).size).toBeLessThanOrEqual(3 * MIB)
    // A command uses the cache that exists.
    const command = await openReader({ bulkCache: { directory } })
    await expectThere(command, added)
    await command.close()
    writeFileSync(join(directory, 'file'), '')
    const without = await openReader({ bulkCache: { directory: join(directory, 'file'), maxBytes: 3 * MIB } })
    await expectThere(without, added)
    expect(warnings.join()).toContain('going on without it')
  })

  test('the place is recorded, and another one is refused', async () => {
    const { open, bucket, database } = await set()
    const store = await open()
    const added = await add(store, 2 * MIB, 1)
    await store.close()
    const withoutPlace = await openPostgresStore(database.url)
    await expectThere(withoutPlace, added)
    await withoutPlace.close()
    await expect(openPostgresStore(database.url, { bulk: `${bucket.url}/other` })).rejects.toThrow()
    const other = await makePostgresDatabase()
    onTestFinished(async () => await other.remove())
    const refusal = openPostgresStore(other.url, { create: true, bulk: bucket.url })
    await expect(refusal).rejects.toMatchObject({ code: 'not-a-database' })
    const missing = bucket.url.replace('tests', 'no-such-bucket')
    await expect(openPostgresStore(other.url, { create: true, bulk: missing })).rejects.toMatchObject({
      code: 's3-lacks-bucket',
    })
    // A failed creation leaves the server as it was.
    await (await openPostgresStore(other.url, { create: true })).close()
    await expect(openPostgresStore(other.url, { bulk: bucket.url })).rejects.toMatchObject({
      code: 'bulk-differs',
    })
  })

  test('a bucket whose mark is gone, or of another database, is refused', async () => {
    const { open, bucket } = await set()
    const store = await open()
    await add(store, 1000, 1)
    await store.close()
    await bucket.client.put('database', [Buffer.from('zblkfs database 00\n')])
    await expect(open()).rejects.toThrow('belongs to another database')
    await bucket.client.delete('database')
    await expect(open()).rejects.toThrow("has no object 'database'")
  })
})
