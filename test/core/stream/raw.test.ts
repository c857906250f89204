/** Raw streams: an encrypted database is sent, received, backed up and verified without its key. */
import { randomBytes } from 'node:crypto'
import {
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
  closeSync,
} from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import type { Damage } from '../../../core/check/damage.ts'
import { backupRaw, sendRaw } from '../../../core/database/raw-streams.ts'
import { lastReceived, receive } from '../../../core/database/streams.ts'
import { pack } from '../../../core/pack/pack.ts'
import { verifyRawStream } from '../../../core/stream/raw.ts'
import { RAW_STREAM } from '../../../core/stream/format.ts'
import { FrameReader, FrameWriter } from '../../../core/stream/frames.ts'
import { open } from '../../../index.ts'
import type { Compression } from '../../../store/compression.ts'
import { setKeySource } from '../../../store/database-key.ts'
import type { Secret } from '../../../store/encryption.ts'
import { CodedError, StoreError } from '../../../store/errors.ts'
import { TID_MAX, TID_NONE } from '../../../store/ids.ts'
import { openDatabase } from '../../../store/open-store.ts'
import { RAW } from '../../../store/raw-stream.ts'
import { copyDatabase, removeDatabase } from '../../tools/database-files.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

const key = async (): Promise<Secret> => ({ kind: 'file', bytes: Buffer.alloc(32, 'key') })
const MiB = 1 << 20
/** Of changed streams. */
const ROUNDS = 40

async function write(path: string, files: Readonly<Record<string, Buffer | string>>): Promise<void> {
  const db = await open(path, { create: true, encryption: 'aes-256-gcm', key })
  for (const [name, bytes] of Object.entries(files)) {
    await db.files.writeFile(name, bytes)
    await db.sync()
  }
  await db.close()
}

async function contents(path: string): Promise<Readonly<Record<string, string>>> {
  const db = await open(path, { readOnly: true, key })
  const found: Record<string, string> = {}
  for (const name of await db.files.readdir('.'))
    found[name] = Buffer.from(await db.files.readFile(name)).toString('base64')
  await db.close()
  return found
}

/** Whether fsck finds nothing, with the key and without it. */
async function assertSound(path: string): Promise<void> {
  for (const source of [key, undefined]) {
    const damages: Damage[] = []
    setKeySource(source)
    try {
      await checkDatabase(path, {
        data: true,
        restart: true,
        repair: false,
        report: damage => void damages.push(damage),
        progress: () => undefined,
      })
    } finally {
      setKeySource(undefined)
    }
    expect(damages).toEqual([])
  }
}

async function packAll(path: string): Promise<void> {
  const store = await openDatabase(path, { key })
  await pack(store, { from: TID_MAX })
  await store.close()
}

async function gathered(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

async function* of(...parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts
}

const codeOf = async (doing: Promise<unknown>): Promise<string> =>
  await doing.then(
    () => 'none',
    (error: unknown) => (error instanceof CodedError ? error.code : String(error)),
  )

const last = async (path: string): Promise<string> => (await lastReceived(path)) ?? ''

const allocated = (path: string): number =>
  readdirSync(`${path}-log`).reduce((sum, name) => sum + statSync(join(`${path}-log`, name)).blocks * 512, 0)

describe('a raw stream', () => {
  test.each(['off', 'zstd', 'lz4'] as const)(
    'makes a copy that opens with the same key, and continues it (compression %s)',
    async (compression: Compression['method'] | 'off') => {
      const [source, copy] = [temporaryDatabase(), temporaryDatabase()]
      const empty = await open(source, { create: true, encryption: 'aes-256-gcm', key, compression })
      await empty.close()
      const long = Buffer.concat([randomBytes(3 * MiB), Buffer.alloc(3 * MiB, 'text ')])
      await write(source, { small: 'a hidden text', long })
      const first = await receive(copy, sendRaw(source))
      expect(first.tid).toBe(await last(source))
      expect(await contents(copy)).toEqual(await contents(source))
      await assertSound(copy)

      await write(source, { small: 'another text', 'new file': randomBytes(100_000) })
      const stream = await gathered(sendRaw(source, { from: first.tid }))
      expect(stream.length).toBeLessThan(MiB)
      const second = await receive(copy, of(stream))
      expect(second).toMatchObject({ tid: await last(source) })
      expect(second.transactions).toBeGreaterThan(0)
      expect(await contents(copy)).toEqual(await contents(source))
      await assertSound(copy)
      // Once more: all of it is here.
      expect(await receive(copy, of(stream))).toMatchObject({ transactions: 0, tid: second.tid })
    },
  )

  test('drops from the copy what packs of the source have dropped', async () => {
    const [source, copy] = [temporaryDatabase(), temporaryDatabase()]
    await write(source, { kept: randomBytes(2 * MiB), replaced: randomBytes(4 * MiB) })
    const { tid } = await receive(copy, sendRaw(source))
    await write(source, { replaced: randomBytes(MiB), other: 'x' })
    await packAll(source)
    await receive(copy, sendRaw(source, { from: tid }))
    expect(await contents(copy)).toEqual(await contents(source))
    await assertSound(copy)
    expect(allocated(copy)).toBeLessThan(allocated(source) + MiB / 2)
    const rows = (path: string): unknown => {
      const db = new Database(path, { readonly: true })
      const found = ['txn', 'revision', 'dropped'].map(table =>
        db
          .prepare(`SELECT count(*), ${table === 'dropped' ? 'max(revisions)' : 'max(tid)'} FROM ${table}`)
          .raw()
          .get(),
      )
      db.close()
      return found
    }
    expect(rows(copy)).toEqual(rows(source))
    // A whole stream of the packed source is a copy, too.
    const whole = temporaryDatabase()
    await receive(whole, sendRaw(source))
    expect(await contents(whole)).toEqual(await contents(source))
    await assertSound(whole)
  })

  test('is sent beside a writer that packs, and is one moment', async () => {
    const source = temporaryDatabase()
    await write(source, { file: randomBytes(2 * MiB) })
    const store = await openDatabase(source, { key })
    const over = new AbortController()
    const packing = (async () => {
      while (!over.signal.aborted) {
        const oid = (await store.allocateOids(1)).first
        await store.commit({
          changes: [{ oid, base: TID_NONE, record: { head: Buffer.from('h'), body: [randomBytes(40_000)] } }],
        })
        await pack(store, { from: TID_MAX })
      }
    })()
    const copy = temporaryDatabase()
    try {
      let { tid } = await receive(copy, sendRaw(source))
      for (let round = 0; round < 5; round++)
        // The base may have been dropped meanwhile.
        ({ tid } = await receive(copy, sendRaw(source, { from: tid })).catch((error: unknown) => {
          if (error instanceof CodedError && ['no-transaction', 'pack-running'].includes(error.code))
            return { tid }
          throw error
        }))
    } finally {
      over.abort()
      await packing
      await store.close()
    }
    await assertSound(copy)
  })

  test('is refused where it does not fit, and leaves what is there', async () => {
    const [source, copy, other] = [temporaryDatabase(), temporaryDatabase(), temporaryDatabase()]
    await write(source, { file: 'one' })
    const { tid } = await receive(copy, sendRaw(source))
    await write(source, { file: 'two' })
    const next = await gathered(sendRaw(source, { from: tid }))
    expect(await codeOf(receive(other, of(next)))).toBe('other-base')
    expect(existsSync(other)).toBe(false)
    await write(other, { file: 'other' })
    expect(await codeOf(receive(other, of(next)))).toBe('other-database')
    expect(await codeOf(gathered(sendRaw(source, { from: '0000000000000001' })))).toBe('no-transaction')
    expect(await codeOf(receive(copy, sendRaw(source)))).toBe('other-base')
    expect(await codeOf(receive(copy, of(next.subarray(0, -40))))).toBe('cut-stream')
    expect(await last(copy)).toBe(tid)
    await assertSound(copy)
    await write(copy, { file: 'three' })
    expect(await codeOf(receive(copy, of(next)))).toBe('diverged')
    expect((await contents(copy))['file']).toBe(Buffer.from('three').toString('base64'))
    const plain = temporaryDatabase()
    const db = await open(plain, { create: true })
    await db.close()
    expect(await codeOf(gathered(sendRaw(plain)))).toBe('usage')
  })

  test('that was cut is followed by a whole one, and a copy and its source have different epochs', async () => {
    const [source, copy] = [temporaryDatabase(), temporaryDatabase()]
    await write(source, { long: randomBytes(2 * MiB) })
    const stream = await gathered(sendRaw(source))
    expect(await codeOf(receive(copy, of(stream.subarray(0, MiB))))).toBe('cut-stream')
    expect(existsSync(copy)).toBe(false)
    expect(existsSync(`${copy}-log`)).toBe(false)
    await receive(copy, of(stream))
    for (const path of [source, copy]) await write(path, { next: randomBytes(100_000) })
    await Promise.all([source, copy].map(assertSound))
    const salts = [source, copy].map(path => {
      const db = new Database(path, { readonly: true })
      const rows = db
        .prepare<[], string>("SELECT value FROM meta WHERE name GLOB 'epoch *' ORDER BY name")
        .pluck()
        .all()
      db.close()
      return rows
    })
    expect(salts[0]?.[0]).toBe(salts[1]?.[0])
    expect(salts[0]?.at(-1)).not.toBe(salts[1]?.at(-1))
  })

  test('with a part that was changed is refused, whatever was changed', async () => {
    const [source, copy] = [temporaryDatabase(), temporaryDatabase()]
    await write(source, { long: randomBytes(100_000) })
    const { tid } = await receive(copy, sendRaw(source))
    await write(source, { long: randomBytes(200_000), name: 'text' })
    const stream = await gathered(sendRaw(source, { from: tid }))
    const reader = new FrameReader(of(stream), RAW_STREAM)
    await reader.begin()
    const parts: { readonly kind: number; readonly payload: Buffer }[] = []
    do parts.push(await reader.next())
    while (parts.at(-1)?.kind !== RAW.end)
    const saved = `${copy}.saved`
    await copyDatabase(copy, saved)
    let seed = 7
    const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
    let refused = 0
    for (let round = 0; round < ROUNDS; round++) {
      const at = random(parts.length)
      const frames = new FrameWriter(RAW_STREAM)
      const changed = parts.map(({ kind, payload }, index) => {
        if (index !== at) return frames.frame(kind, payload)
        const bytes = Buffer.from(payload)
        // In its beginning, where the numbers are, or anywhere.
        const place = random(2) === 0 ? random(Math.min(200, bytes.length)) : random(bytes.length)
        bytes[place] = random(256)
        return frames.frame(
          random(20) === 0 ? 1 + random(7) : kind,
          random(10) === 0 ? bytes.subarray(0, place) : bytes,
        )
      })
      const error: unknown = await receive(copy, of(RAW_STREAM.magic, ...changed)).catch(
        (cause: unknown) => cause,
      )
      if (error instanceof Error) {
        expect(error).toBeInstanceOf(StoreError)
        refused++
        expect(await last(copy)).toBe(tid)
        continue
      }
      // What only the key can verify, or an estimate.
      await removeDatabase(copy)
      await copyDatabase(saved, copy)
    }
    expect(refused).toBeGreaterThan(ROUNDS / 2)
    await assertSound(copy)
    await receive(copy, of(stream))
    expect(await contents(copy)).toEqual(await contents(source))
  })
})

describe('a raw backup', () => {
  test('is made and restored without the key, each time with what has changed', async () => {
    const source = temporaryDatabase()
    const directory = `${source}.backup`
    await write(source, { long: randomBytes(2 * MiB), SECRET: 'a hidden text' })
    expect(await backupRaw(source, directory)).toMatchObject({ full: 'first', tid: await last(source) })
    expect(await backupRaw(source, directory)).toMatchObject({ files: [], transactions: 0 })
    await write(source, { long: randomBytes(MiB) })
    await packAll(source)
    const next = await backupRaw(source, directory)
    if (next.full === undefined) expect(next.bytes).toBeLessThan(2 * MiB)
    await write(source, { more: 'x' })
    const third = await backupRaw(source, directory)
    expect(third.full).toBe(undefined)
    expect(third.bytes).toBeLessThan(100_000)
    const copy = temporaryDatabase()
    const files = readdirSync(directory)
      .toSorted()
      .map(name => join(directory, name))
    for (const path of files) {
      expect((await verifyRawStream(path)).bytes).toBe(statSync(path).size)
      expect(readFileSync(path).includes('SECRET')).toBe(false)
    }
    const kept = next.full === undefined ? files : files.slice(1)
    for (const path of kept) await receive(copy, of(readFileSync(path)))
    expect(await contents(copy)).toEqual(await contents(source))
    await assertSound(copy)
    const bytes = readFileSync(files[0] ?? '')
    bytes[bytes.length >> 1]! ^= 1
    writeFileSync(`${directory}/damaged`, bytes)
    await expect(verifyRawStream(`${directory}/damaged`)).rejects.toThrow('a checksum differs')
  })

  test('is not made of what is damaged, nor beside a backup of another kind', async () => {
    const source = temporaryDatabase()
    const directory = `${source}.backup`
    await write(source, { long: randomBytes(MiB) })
    const segment = openSync(`${source}-log/00000000`, 'r+')
    writeSync(segment, 'damage', 600_000)
    closeSync(segment)
    expect(await codeOf(backupRaw(source, directory))).toBe('corrupt-record')
    expect(readdirSync(directory)).toEqual([])
    const sealed = `${source}.sealed`
    await mkdir(sealed)
    writeFileSync(join(sealed, `000001-${'0'.repeat(16)}-${'1'.repeat(16)}.zstream`), 'x')
    expect(await codeOf(backupRaw(source, sealed))).toBe('other-backup')
  })
})
