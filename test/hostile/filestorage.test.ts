/** FileStorages made to be slow, large or misleading; test/fuzz has those with changed bytes. */
import { execFileSync } from 'node:child_process'
import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ForeignDirectory } from '../../core/foreign/naming.ts'
import { Connection } from '../../core/objects/connection.ts'
import { Ref } from '../../core/objects/pickle/value.ts'
import * as made from '../mount/zodb/hand-made.ts'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import { oid, TID_MAX, tid } from '../../store/ids.ts'
import { recognise } from '../../store/recognise.ts'
import { StoreError } from '../../store/errors.ts'
import { temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import { HandFile } from '../tools/zodb-file.ts'

/** A loaded machine is slow: what is tested is that the time does not grow with what the file claims. */
const STEP_MS = 2000 * (process.env['CI'] === undefined ? 5 : 10)

describe('a hostile FileStorage', () => {
  test('with a record as long as a sparse file is read without allocating that length', async () => {
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

  test('with a long chain of back pointers is indexed in bounded time, and the chain is damage', async () => {
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

test('a mapping of very many names is listed in bounded time', { timeout: 60_000 }, async () => {
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
