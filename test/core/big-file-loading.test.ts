/** What the load step of a commit drops, because it was written with the bytes it had, while a file is changed or copied from. */
import { expect, test } from 'vitest'
import { BigFile } from '../../core/big-file/big-file.ts'
import { Connection } from '../../core/objects/connection.ts'
import { ZBigFile } from '../../core/zblk/zbigfile.ts'
import { TestStore } from '../tools/test-store.ts'

const BLK = 64 << 10
const CHUNK = 4096

/** A stored file whose first chunks were written again with the bytes that they have. */
async function rewritten(): Promise<[BigFile, Connection, Buffer, TestStore]> {
  const store = new TestStore()
  const connection = await Connection.open(store, { cacheSizeBytes: 4 << 20 })
  const file = await BigFile.create(connection, BLK)
  const bytes = Buffer.alloc(2 * BLK, 'some bytes ')
  await file.write(0n, bytes)
  await connection.prepare()
  await connection.commit()
  await file.write(0n, bytes.subarray(0, 4 * CHUNK))
  return [file, connection, bytes, store]
}

/** Has a commit load at the next read of stored bytes. */
function loadAtNextRead({ records }: Connection, load: () => Promise<void>): void {
  const readSlices = records.readSlices.bind(records)
  records.readSlices = async reads => {
    records.readSlices = readSlices
    await load()
    await readSlices(reads)
  }
}

test('a chunk that a write covers in part keeps its other bytes', async () => {
  const [file, connection, bytes] = await rewritten()
  loadAtNextRead(connection, () => connection.loadForPrepare())
  const [off, data] = [3 * CHUNK + 100, Buffer.alloc(CHUNK, 'x')]
  await file.write(BigInt(off), data)
  data.copy(bytes, off)
  expect(Buffer.concat(await file.read(0n, BLK)).equals(bytes.subarray(0, BLK))).toBe(true)
  await connection.prepare()
  await connection.commit()
  expect(Buffer.concat(await file.read(0n, BLK)).equals(bytes.subarray(0, BLK))).toBe(true)
})

test('zeros that begin and end within chunks leave the other bytes', async () => {
  const [file, connection, bytes] = await rewritten()
  loadAtNextRead(connection, () => connection.loadForPrepare())
  await file.zero(BigInt(3 * CHUNK + 100), BigInt(CHUNK))
  bytes.fill(0, 3 * CHUNK + 100, 4 * CHUNK + 100)
  expect(Buffer.concat(await file.read(0n, BLK)).equals(bytes.subarray(0, BLK))).toBe(true)
})

test('bytes that are being copied keep their memory', async () => {
  const [stored, , bytes, store] = await rewritten()
  const connection = await Connection.open(store, { cacheSizeBytes: 4 << 20 })
  const file = await BigFile.open(
    connection,
    connection.get(stored.file.oid, ZBigFile.CLASS_NAME) as ZBigFile,
  )
  const [copy, other] = [await BigFile.create(connection, BLK), await BigFile.create(connection, BLK)]
  stored.abort()
  await file.write(0n, bytes.subarray(0, 4 * CHUNK))
  const { records } = connection
  const start = records.start.bind(records)
  let hasLoaded = false
  records.start = async (oid, len) => {
    records.start = start
    await connection.loadForPrepare()
    hasLoaded = true
    await other.write(0n, Buffer.alloc(4 * CHUNK, 'x'))
    return await start(oid, len)
  }
  await copy.share(file, BigInt(CHUNK), 0n, BLK)
  expect(hasLoaded).toBe(true)
  expect(Buffer.concat(await copy.read(0n, BLK)).equals(bytes.subarray(CHUNK, CHUNK + BLK))).toBe(true)
})
