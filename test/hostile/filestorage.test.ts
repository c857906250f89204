/**
 * FileStorages with changed bytes: each answers with data or with a StoreError, soon and within bounded memory.
 * HOSTILE_SEED repeats a run; HOSTILE_SECONDS makes it longer than the few seconds of a test run.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { importDatabase } from '../../core/foreign/import/import-database.ts'
import { ForeignDirectory } from '../../core/foreign/naming.ts'
import { Connection } from '../../core/objects/connection.ts'
import { Ref } from '../../core/objects/pickle/value.ts'
import * as made from '../mount/zodb/made-up.ts'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import { oid, TID_MAX, tid } from '../../store/ids.ts'
import { recognise } from '../../store/recognise.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { StoreError } from '../../store/errors.ts'
import { temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import { HandFile } from '../tools/zodb-file.ts'
import { caseFile, CASES } from '../zodb/cases.ts'

const SEED = Number(process.env['HOSTILE_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const SECONDS = Number(process.env['HOSTILE_SECONDS'] ?? 4)
/** A loaded machine is slow: what is tested is that the time does not grow with what the file claims. */
const STEP_MS = 2000 * (process.env['CI'] === undefined ? 5 : 10)

/** mulberry32 */
function generator(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) % below
  }
}

const HEADER_BYTES = [0, 1, 0x20, 0x2e, 0x63, 0x70, 0x75, 0x7f, 0x80, 0xff]

/** Changes some bytes, most of them in headers, which are near other headers; cuts and repeats stretches. */
function mutate(bytes: Buffer, random: (below: number) => number): Buffer {
  let changed = Buffer.from(bytes)
  for (let count = 1 + random(4); count > 0; count--) {
    const pos =
      4 + random(Math.max(1, random(2) === 0 ? changed.length - 4 : Math.min(600, changed.length - 4)))
    const how = random(10)
    if (how < 6) changed[pos] = HEADER_BYTES[random(HEADER_BYTES.length)] ?? 0
    else if (how < 8) changed[pos] = random(256)
    else if (how === 8) changed = changed.subarray(0, pos)
    else changed = Buffer.concat([changed.subarray(0, pos), changed.subarray(Math.max(4, pos - random(300)))])
  }
  return changed
}

/** Reads every state of every object, and imports the database. */
async function readAll(path: string, directory: string): Promise<void> {
  const store = await openFileStorage(path, { cacheDirectory: join(directory, 'cache') })
  try {
    for await (const { tid } of store.transactions()) {
      for await (const { oids } of store.changes((tid - 1n) as never, tid))
        for (const each of oids) await store.load([each], tid).catch(assertStoreError)
    }
    await store.capabilities.foreignHistory?.packedUpTo()
    const target = await openSqliteStore(join(directory, 'db'), { create: true })
    const options = { source: store, target, mapPath: join(directory, 'map'), into: '', history: true }
    try {
      await importDatabase(options)
    } finally {
      await target.close()
    }
  } finally {
    await store.close()
  }
}

function assertStoreError(error: unknown): void {
  if (!(error instanceof StoreError)) throw error
}

describe(`a hostile FileStorage (HOSTILE_SEED=${SEED})`, () => {
  test(
    'with changed bytes answers with data or a StoreError, in time',
    { timeout: SECONDS * 1000 + 60_000 },
    async () => {
      const random = generator(SEED)
      const originals = CASES.map(({ name }) => readFileSync(caseFile(name)))
      const end = Date.now() + SECONDS * 1000
      for (let round = 0; Date.now() < end; round++) {
        const directory = mkdtempSync(join(tmpdir(), 'zblkfs-hostile-'))
        const path = join(directory, 'Data.fs')
        const bytes = mutate(originals[random(originals.length)]!, random)
        writeFileSync(path, bytes)
        const started = Date.now()
        try {
          await readAll(path, directory)
        } catch (error) {
          if (!(error instanceof StoreError))
            throw new Error(`round ${round} of seed ${SEED}`, { cause: error })
          expect(error.message).not.toMatch(/undefined|\[object|NaN/)
        }
        expect(Date.now() - started, `round ${round} of seed ${SEED}`).toBeLessThan(STEP_MS)
        rmSync(directory, { recursive: true })
      }
    },
  )

  test('whose record claims the length of a sparse file is read without that memory', async () => {
    const path = join(temporaryDirectory(), 'Data.fs')
    const length = 2 ** 33
    const bytes = Buffer.from(new HandFile().add({ tid: 1n, records: [{ oid: 1, data: 'x' }] }).bytes)
    bytes.writeBigUInt64BE(BigInt(length + 65), 4 + 8)
    bytes.writeBigUInt64BE(BigInt(length), 4 + 23 + 34)
    writeFileSync(path, bytes)
    truncateSync(path, 4 + length + 65)
    const second = Buffer.alloc(8)
    second.writeBigUInt64BE(BigInt(length + 65))
    execFileSync('dd', [`of=${path}`, 'oflag=append', 'conv=notrunc', 'status=none'], { input: second })
    const store = await openFileStorage(path, { cacheDirectory: temporaryDirectory() })
    onTestFinished(() => store.close())
    await expect(store.load([oid(1)], TID_MAX)).rejects.toThrow('too long to be read')
    expect((await store.loadPart(oid(1), TID_MAX, 0, 10))?.size).toBe(length)
  })

  test('with a long chain of back pointers is indexed in time, and the chain is damage', async () => {
    const file = new HandFile().add({ tid: 1n, records: [{ oid: 1, data: 'x', name: '1' }] })
    for (let number = 2; number <= 2000; number++)
      file.add({
        tid: BigInt(number),
        records: [{ oid: 1, data: { sameAs: String(number - 1) }, name: String(number) }],
      })
    const path = join(temporaryDirectory(), 'Data.fs')
    writeFileSync(path, file.bytes)
    const started = Date.now()
    const store = await openFileStorage(path, { cacheDirectory: temporaryDirectory() })
    onTestFinished(() => store.close())
    await expect(store.load([oid(1)], TID_MAX)).rejects.toThrow('its chain of back pointers is longer than')
    expect(await store.load([oid(1)], tid(90n))).toMatchObject([{ tid: 90n }])
    expect(Date.now() - started).toBeLessThan(STEP_MS)
  })

  test('that is a FIFO, a link to one, or a directory is refused at once', async () => {
    const directory = temporaryDirectory()
    execFileSync('mkfifo', [join(directory, 'fifo')])
    execFileSync('ln', ['-s', 'fifo', join(directory, 'link')])
    for (const name of ['fifo', 'link', '.', 'link/x']) {
      await expect(recognise(join(directory, name))).rejects.toThrow(StoreError)
      await expect(openFileStorage(join(directory, name))).rejects.toThrow(StoreError)
    }
  })
})

test('a mapping of very many names is listed in time', { timeout: 60_000 }, async () => {
  const names = 30_000
  const entries: Record<string, ReturnType<typeof made.ref>> = {}
  for (let number = 0; number < names; number++) entries[`n${number}`] = made.ref(1, made.MAPPING)
  const path = made.madeUpFile({ 0: made.mapping(entries), 1: made.mapping({}) })
  const store = await openFileStorage(path, { cacheDirectory: temporaryDirectory() })
  onTestFinished(() => store.close())
  const connection = await Connection.open(store, { cacheSizeBytes: 64 << 20 })
  const root = new Ref(oid(0), made.MAPPING)
  const started = Date.now()
  let count = 0
  for (let after: string | undefined; ;) {
    const page = await (await ForeignDirectory.open(connection, root, () => {})).after(after, 10)
    count += page.length
    after = page.at(-1)?.name
    if (after === undefined) break
  }
  expect(count).toBe(names)
  expect(Date.now() - started).toBeLessThan(STEP_MS)
})
