import { expect, test } from 'vitest'
import { databaseBytes } from '../../tools/database-files.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

const MIB = 1 << 20
const SIZE = 16 * MIB

test('a copied range takes no space, and both copies change independently', async () => {
  const database = temporaryDatabase()
  let paths = await openPaths(database)
  const data = Buffer.alloc(SIZE)
  for (let i = 0; i < SIZE; i += 4) data.writeUInt32LE(i + 1, i)
  const source = await paths.create('source')
  await paths.create('target')
  for (let off = 0; off < SIZE; off += MIB)
    await paths.fs.write(source.ino, source.fh, BigInt(off), data.subarray(off, off + MIB))
  await paths.fs.close()
  const before = await databaseBytes(database)

  paths = await openPaths(database)
  const [from, to] = [await paths.open('source'), await paths.open('target')]
  for (let off = 100n; off < SIZE;) {
    const [a, b] = [
      { ino: from.ino, fh: from.fh, off },
      { ino: to.ino, fh: to.fh, off: off + 4096n },
    ]
    off += await paths.fs.copyFileRange(a, b, BigInt(SIZE) - off)
  }
  await paths.fs.close()
  expect((await databaseBytes(database)) - before).toBeLessThan(MIB / 2)

  paths = await openPaths(database)
  const [first, second] = [await paths.open('source'), await paths.open('target')]
  await paths.fs.write(first.ino, first.fh, 5000n, Buffer.from('first'))
  await paths.fs.write(second.ino, second.fh, BigInt(3 * MIB), Buffer.from('second'))
  await paths.fs.close()

  paths = await openPaths(database)
  const copy = Buffer.concat([Buffer.alloc(4196), data.subarray(100)])
  copy.write('second', 3 * MIB)
  data.write('first', 5000)
  expect((await paths.read('source')).equals(data)).toBe(true)
  expect((await paths.read('target')).equals(copy)).toBe(true)
  await paths.fs.close()
}, 60_000)
