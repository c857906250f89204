/** A read plans all of its parts before it fetches any data, and fetches them in one call. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { BigFile } from '../../core/big-file/big-file.ts'
import { Connection } from '../../core/objects/connection.ts'
import { ZBigFile } from '../../core/zblk/zbigfile.ts'
import { StoreError } from '../../store/errors.ts'
import type { SliceRead } from '../../store/store.ts'
import { TestStore } from '../tools/test-store.ts'

const BLK = 2 << 20
const OPTIONS = { cacheSizeBytes: 4 << 20 }

/** Four blocks: one record, chunks of 4 KiB, a hole, and long chunks around a short one. */
async function written(): Promise<{ store: TestStore; file: BigFile; bytes: Buffer }> {
  const store = new TestStore()
  const connection = await Connection.open(store, { ...OPTIONS, zblkFormat: 'auto' })
  const file = await BigFile.create(connection)
  const bytes = Buffer.alloc(4 * BLK)
  const write = async (off: number, length: number): Promise<void> => {
    for (let i = off; i < off + length; i++) bytes[i] = 1 + ((i * 31 + (i >> 12)) % 255)
    await file.write(BigInt(off), bytes.subarray(off, off + length))
    await connection.prepare()
    await connection.commit()
  }
  await write(0, BLK)
  for (let chunk = 0; chunk < 20; chunk += 3) await write(BLK + chunk * 4096, 4096)
  await write(3 * BLK, 1_000_000)
  await write(3 * BLK + 300_000, 5000)
  const again = await Connection.open(store, OPTIONS)
  const object = again.get(file.file.oid, ZBigFile.CLASS_NAME) as ZBigFile
  return { store, file: await BigFile.open(again, object), bytes }
}

test('all slices of a read are fetched with one call, into the memory of the reply', async () => {
  const { store, file, bytes } = await written()
  const calls: (readonly SliceRead[])[] = []
  const readSlices = store.readSlices.bind(store)
  store.readSlices = async reads => {
    calls.push(reads)
    await readSlices(reads)
  }
  await file.write(BigInt(BLK + 100), Buffer.alloc(50, 7))
  bytes.fill(7, BLK + 100, BLK + 150)
  calls.length = 0
  for (const [off, len] of [
    [0, 4 * BLK],
    [BLK - 5000, BLK],
    [3 * BLK + 299_000, 9000],
    [BLK + 4096 * 3 + 10, 100],
    [2 * BLK + 5, 70_000],
  ] as const) {
    const memory = new Uint8Array(len + 10).fill(0xee)
    calls.length = 0
    const pieces = await file.read(BigInt(off), len, memory)
    expect(calls.length).toBeLessThanOrEqual(1)
    for (const { into } of calls.flat()) expect(into.buffer === memory.buffer).toBe(true)
    expect(Buffer.concat(pieces).equals(bytes.subarray(off, off + len))).toBe(true)
    let at = 0
    for (const piece of pieces) {
      if (piece.some(byte => byte !== 0)) {
        expect(piece.buffer === memory.buffer).toBe(true)
        expect(piece.byteOffset).toBe(at)
      }
      at += piece.length
    }
    expect(Buffer.concat(await file.read(BigInt(off), len)).equals(bytes.subarray(off, off + len))).toBe(true)
  }
})

test('a read that fails ends after all that fill its memory', async () => {
  const { store, file } = await written()
  const { promise: disk, resolve: answer } = Promise.withResolvers<void>()
  let isFetching = false
  store.readSlices = async () => {
    isFetching = true
    await disk
  }
  const load = store.load.bind(store)
  store.load = async (...parameters) => {
    if (isFetching) throw new StoreError('the disk is gone')
    return await load(...parameters)
  }
  let isEnded = false
  const reading = Promise.resolve(
    file.read(BigInt(3 * BLK + 290_000), 30_000, new Uint8Array(30_000)),
  ).finally(() => (isEnded = true))
  reading.catch(() => undefined)
  await sleep(20)
  expect([isFetching, isEnded]).toStrictEqual([true, false])
  answer()
  await expect(reading).rejects.toThrow('the disk is gone')
})
