/** Changes that run between the comparison of written chunks with the stored ones and their removal from an overlay. */
import { expect, test } from 'vitest'
import { BigFile } from '../../core/big-file/big-file.ts'
import { Connection } from '../../core/objects/connection.ts'
import { TestStore } from '../tools/test-store.ts'

const BLK = 64 << 10
const CHUNK = 4096
/** More microtasks than a change takes. */
const TURNS = 24
const READY = Promise.resolve()

/** Has `change` begin some microtasks before the next read of stored bytes ends. */
function changeBeforeReadEnds({ records }: Connection, turns: number, change: () => void): void {
  const readSlices = records.readSlices.bind(records)
  records.readSlices = async reads => {
    records.readSlices = readSlices
    await readSlices(reads)
    change()
    for (let left = turns; left > 0; left--) await READY
  }
}

test.for([...Array(TURNS).keys()])(
  'a hole is kept that is begun %i turns before the stored bytes are there',
  async turns => {
    const connection = await Connection.open(new TestStore(), { cacheSizeBytes: 4 << 20 })
    const file = await BigFile.create(connection, BLK)
    const bytes = Buffer.alloc(BLK, 'some bytes ')
    await file.write(0n, bytes)
    await connection.prepare()
    await connection.commit()
    await file.write(0n, bytes.subarray(0, 4 * CHUNK))
    let change: Promise<void> | undefined
    changeBeforeReadEnds(connection, turns, () => {
      change = file.zero(BigInt(CHUNK), BigInt(CHUNK))
    })
    await connection.loadForPrepare()
    expect(change).toBeDefined()
    await change
    bytes.fill(0, CHUNK, 2 * CHUNK)
    expect(Buffer.concat(await file.read(0n, BLK)).equals(bytes)).toBe(true)
  },
)

test.for([...Array(TURNS).keys()])(
  'shared bytes are kept whose copy is begun %i turns before the stored bytes are there',
  async turns => {
    const connection = await Connection.open(new TestStore(), { cacheSizeBytes: 4 << 20 })
    const [file, source] = [await BigFile.create(connection, BLK), await BigFile.create(connection, BLK)]
    const bytes = Buffer.alloc(BLK, 'some bytes ')
    await file.write(0n, bytes)
    await source.write(0n, Buffer.alloc(BLK, 'x'))
    await connection.prepare()
    await connection.commit()
    await file.write(0n, bytes.subarray(0, 4 * CHUNK))
    let change: Promise<void> | undefined
    changeBeforeReadEnds(connection, turns, () => {
      change = file.share(source, 0n, 0n, 2 * CHUNK)
    })
    await connection.loadForPrepare()
    expect(change).toBeDefined()
    await change
    bytes.fill('x', 0, 2 * CHUNK)
    expect(Buffer.concat(await file.read(0n, BLK)).equals(bytes)).toBe(true)
  },
)
