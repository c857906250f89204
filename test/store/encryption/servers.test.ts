/** An encrypted database on a PostgreSQL server with a bucket: what both hold, and which changes with valid checksums are detected. */
import { randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { xxh64 } from '../../../store/checksum.ts'
import type { CompressionName } from '../../../store/compression.ts'
import { setKeySource } from '../../../store/database-key.ts'
import { SEAL_BYTES } from '../../../store/encryption/aead.ts'
import { UNIT_SEAL_BYTES } from '../../../store/encryption/segment-seal.ts'
import type { Secret } from '../../../store/encryption.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import { TID_MAX, TID_NONE, type Oid } from '../../../store/ids.ts'
import { SUM_BYTES, UNIT_BYTES, unitSum } from '../../../store/indexed/frame.ts'
import { rowSum } from '../../../store/indexed/row-sums.ts'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import { SEGMENTS } from '../../../store/s3/segment.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import { hasPostgres, makePostgresDatabase, type TestPostgresDatabase } from '../../tools/postgres-server.ts'
import { hasSwift, makeBucket, type TestBucket } from '../../tools/swift-server.ts'

const LONG = 400_000
const SHORT = 20_000
/** Of a unit in a row: its checksum, its nonce and its tag. */
const FORM_BYTES = SUM_BYTES + UNIT_SEAL_BYTES
const key = async (): Promise<Secret> => ({ kind: 'file', bytes: Buffer.alloc(32, 'key') })

/** A database, its bucket, and two objects in segments (`long`) and in rows (`short`) each. */
interface Setting {
  readonly database: TestPostgresDatabase
  readonly bucket: TestBucket
  readonly long: readonly Oid[]
  readonly short: readonly Oid[]
}

async function commit(store: WritableStore, body: Buffer): Promise<Oid> {
  const oid = (await store.allocateOids(1)).first
  const record = { head: Buffer.from('HEAD of a record'), body: [body] }
  await store.commit({ changes: [{ oid, base: TID_NONE, record }], description: 'a MESSAGE' })
  return oid
}

/** Bytes that a text and Zstandard can be found in. */
function bodyOf(length: number, text: string): Buffer {
  const body = randomBytes(length)
  for (let at = 0; at + 64 < length; at += 256) body.fill(text, at, at + 64)
  return body
}

async function make(compression: CompressionName, text = 'CONTENT'): Promise<Setting> {
  const database = await makePostgresDatabase()
  const bucket = await makeBucket()
  onTestFinished(async () => {
    bucket.remove()
    await database.remove()
  })
  const store = (await openPostgresStore(database.url, {
    create: true,
    encryption: 'aes-256-gcm',
    key,
    compression,
    bulk: bucket.url,
    bulkCache: { maxBytes: 0 },
    bulkTuning: { rowsMaxBytes: 65_536 },
  })) as WritableStore
  const long = [await commit(store, bodyOf(LONG, text)), await commit(store, bodyOf(LONG, text))]
  const short = [await commit(store, bodyOf(SHORT, text)), await commit(store, bodyOf(SHORT, text))]
  await store.close()
  return { database, bucket, long, short }
}

const open = async ({ database }: Setting): Promise<Store> =>
  await openPostgresStore(database.url, { readOnly: true, key, bulkCache: { maxBytes: 0 } })

/** Whether an object has what was written. @throws CorruptRecordError */
async function isWhole(setting: Setting, oid: Oid): Promise<boolean> {
  const store = await open(setting)
  try {
    const [found] = await store.load([oid], TID_MAX)
    return Buffer.from(found?.record ?? []).includes('CONTENT')
  } finally {
    await store.close()
  }
}

async function damagedOids(setting: Setting): Promise<readonly (Oid | undefined)[]> {
  const found: (Oid | undefined)[] = []
  setKeySource(key)
  try {
    await checkDatabase(setting.database.url, {
      data: true,
      repair: false,
      report: ({ oid }) => void found.push(oid),
      progress: () => undefined,
    })
  } finally {
    setKeySource(undefined)
  }
  return found
}

async function expectDamaged(setting: Setting, oid: Oid): Promise<void> {
  await expect(isWhole(setting, oid)).rejects.toThrow(CorruptRecordError)
  expect(await damagedOids(setting)).toContain(oid)
}

async function objects({ bucket }: Setting): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>()
  for (const { key: name } of await bucket.client.list('', '', 1000))
    found.set(name, await bucket.client.get(name, 0, (await bucket.client.size(name)) ?? 0))
  return found
}

const segmentsOf = async (setting: Setting): Promise<readonly [string, Buffer][]> =>
  [...(await objects(setting))].filter(([name]) => name.startsWith(SEGMENTS))

/** The frames of a segment's object, by the table in its header. */
function frames(object: Buffer): Buffer[] {
  return Array.from({ length: object.readUInt32LE(40) }, (_, index) => {
    const entry = 48 + 16 * index
    const offset = object.readUInt32LE(entry + 8)
    return object.subarray(offset, offset + object.readUInt32LE(entry + 12))
  })
}

/** Makes the checksum of a frame right. */
const sumFrame = (frame: Buffer): void => void frame.writeBigUInt64LE(xxh64(frame.subarray(SUM_BYTES)))

const hex = (bytes: Buffer): string => `'\\x${bytes.toString('hex')}'`

describe.skipIf(!hasPostgres || !hasSwift).each(['off', 'zstd'] as const)('compression %s', compression => {
  let setting: Setting

  beforeEach(async () => {
    setting = await make(compression)
  })

  test('neither the server nor the bucket has a record, content or a message in plain text', async () => {
    for (const oid of [...setting.long, ...setting.short]) expect(await isWhole(setting, oid)).toBe(true)
    const held = [...(await objects(setting)).values()]
    expect((await segmentsOf(setting)).length).toBeGreaterThan(0)
    const tables = await setting.database.execute(
      "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'zblkfs'",
    )
    for (const { name } of tables)
      for (const row of await setting.database.execute(`SELECT * FROM zblkfs.${String(name)}`))
        for (const value of Object.values(row))
          held.push(Buffer.isBuffer(value) ? value : Buffer.from(String(value)))
    expect(held.filter(bytes => /CONTENT|HEAD|MESSAGE/.test(bytes.toString('latin1')))).toEqual([])
  })

  test('a flipped byte of a frame in the bucket', async () => {
    const [[name, object]] = (await segmentsOf(setting)) as [[string, Buffer]]
    const [frame] = frames(object) as [Buffer]
    for (const at of [SUM_BYTES, SUM_BYTES + 12, frame.length - 1]) {
      frame[at]! ^= 1
      sumFrame(frame)
      await setting.bucket.client.put(name, [object])
      await expectDamaged(setting, setting.long[0]!)
      frame[at]! ^= 1
    }
    sumFrame(frame)
    await setting.bucket.client.put(name, [object])
    expect(await isWhole(setting, setting.long[0]!)).toBe(true)
  })

  test('a frame at the place of another one, and one of another database', async () => {
    const [[name, object]] = (await segmentsOf(setting)) as [[string, Buffer]]
    const other = frames((await segmentsOf(await make(compression)))[0]![1])
    const whole = Buffer.from(object)
    const sources = [frames(whole)[1]!, other[0]!]
    for (const source of sources) {
      const changed = Buffer.from(whole)
      const [first] = frames(changed) as [Buffer]
      // Of another length, but for the part that fits.
      source.copy(first)
      sumFrame(first)
      await setting.bucket.client.put(name, [changed])
      await expectDamaged(setting, setting.long[0]!)
    }
  })

  test('the object of another segment', async () => {
    const store = (await openPostgresStore(setting.database.url, {
      key,
      bulkTuning: { rowsMaxBytes: 65_536 },
    })) as WritableStore
    const again = await commit(store, bodyOf(LONG, 'CONTENT'))
    await store.close()
    const found = await segmentsOf(setting)
    const [[, first], [name]] = [found[0]!, found.at(-1)!]
    expect(found.length).toBeGreaterThan(1)
    await setting.bucket.client.put(name, [first])
    await expectDamaged(setting, again)
  })

  test('a flipped byte of a unit in a row, a unit of another place, and one of another database', async () => {
    const bulk = async (from: Setting): Promise<{ pos: number; sums: Buffer; units: Buffer }[]> =>
      (await from.database.execute('SELECT pos, sums, units FROM zblkfs.bulk ORDER BY pos')).map(row => ({
        pos: Number(row['pos']),
        sums: row['sums'] as Buffer,
        units: row['units'] as Buffer,
      }))
    const [own, foreign] = [await bulk(setting), await bulk(await make(compression))]
    const oid = setting.short[0]!
    const [{ pos, sums, units }] = own as [(typeof own)[0]]
    const forge = async (change: (sums: Buffer, units: Buffer) => void): Promise<void> => {
      const [newSums, newUnits] = [Buffer.from(sums), Buffer.from(units)]
      change(newSums, newUnits)
      for (let at = 0, off = 0; off < newUnits.length; at += FORM_BYTES, off += UNIT_BYTES)
        newSums.writeBigUInt64LE(unitSum(newUnits.subarray(off, off + UNIT_BYTES), pos + off), at)
      await setting.database.execute(
        `UPDATE zblkfs.bulk SET sums = ${hex(newSums)}, units = ${hex(newUnits)} WHERE pos = ${pos}`,
      )
    }
    const takes =
      (from: { sums: Buffer; units: Buffer }, unit: number) => (newSums: Buffer, newUnits: Buffer) => {
        from.units.copy(newUnits, 0, unit * UNIT_BYTES, (unit + 1) * UNIT_BYTES)
        from.sums.copy(newSums, 0, unit * FORM_BYTES, (unit + 1) * FORM_BYTES)
      }
    for (const change of [
      (_: Buffer, newUnits: Buffer) => void (newUnits[5]! ^= 1),
      (newSums: Buffer) => void (newSums[SUM_BYTES]! ^= 1),
      (newSums: Buffer) => void (newSums[FORM_BYTES - 1]! ^= 1),
      takes(own[0]!, 1),
      takes(foreign[0]!, 0),
    ]) {
      await forge(change)
      await expectDamaged(setting, oid)
      await forge(() => undefined)
      expect(await isWhole(setting, oid)).toBe(true)
    }
  })

  test('a row at the place of another one, a flipped byte of a row, and one that points elsewhere', async () => {
    const [oid, other] = [setting.short[0]!, setting.short[1]!]
    const rows = await setting.database.execute(
      `SELECT oid, tid, pos, len, head FROM zblkfs.revision WHERE oid IN (${oid}, ${other}) ORDER BY oid`,
    )
    const [first, second] = rows as [Record<string, unknown>, Record<string, unknown>]
    const forge = async (head: Buffer, pos: number): Promise<void> => {
      const tid = BigInt(String(first['tid']))
      const sum = rowSum(oid, tid, head, pos, Number(first['len']), null) | 0
      await setting.database.execute(
        `UPDATE zblkfs.revision SET head = ${hex(head)}, pos = ${pos}, sum = ${sum} WHERE oid = ${oid}`,
      )
    }
    const [head, pos] = [first['head'] as Buffer, Number(first['pos'])]
    const flipped = Buffer.from(head)
    flipped[SEAL_BYTES - 2]! ^= 1
    for (const [newHead, newPos] of [
      [second['head'] as Buffer, pos],
      [flipped, pos],
      [head, Number(second['pos'])],
    ] as const) {
      await forge(newHead, newPos)
      await expectDamaged(setting, oid)
    }
    await forge(head, pos)
    expect(await isWhole(setting, oid)).toBe(true)
  })
})
