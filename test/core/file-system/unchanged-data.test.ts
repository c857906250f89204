/** Rewriting data with the bytes that are already stored takes no space. */
import { expect, test } from 'vitest'
import type { OpenedFile, Paths } from '../../tools/paths.ts'
import { databaseBytes } from '../../tools/database-files.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'
import { Random } from '../../stress/random.ts'
import type { ZBlkFormat } from '../../../core/objects/zblk-format.ts'

const MiB = 1 << 20
const SIZE = 6 * MiB
const STEP = 32_768

function content(seed: number): Buffer {
  const random = new Random(seed)
  const bytes = Buffer.alloc(SIZE)
  for (let off = 0; off < SIZE; off += 4) bytes.writeUInt32LE(random.below(2 ** 32), off)
  return bytes
}

async function writeAll({ fs }: Paths, { ino, fh }: OpenedFile, bytes: Buffer, step: number): Promise<void> {
  for (let off = 0; off < SIZE; off += step)
    await fs.write(ino, fh, BigInt(off), bytes.subarray(off, off + step))
}

/** The bytes by which the database grows when the file is written by steps. */
async function growth(
  database: string,
  bytes: Buffer,
  step: number,
  zblkFormat: ZBlkFormat,
): Promise<number> {
  const before = await databaseBytes(database)
  let paths = await openPaths(database, { zblkFormat })
  await writeAll(paths, await paths.open('file'), bytes, step)
  await paths.fs.close()
  paths = await openPaths(database, { zblkFormat })
  expect((await paths.read('file')).equals(bytes)).toBe(true)
  await paths.fs.close()
  return (await databaseBytes(database)) - before
}

test.each([
  ['auto', STEP],
  ['auto', MiB],
  ['zblk1', STEP],
  ['zblk0', MiB],
] as const)(
  'in format %s, rewritten by %i bytes, only changed chunks are stored',
  async (zblkFormat, step) => {
    const database = temporaryDatabase()
    const bytes = content(1)
    const paths = await openPaths(database, { zblkFormat })
    await writeAll(paths, await paths.create('file'), bytes, MiB)
    await paths.fs.close()
    expect(await growth(database, bytes, step, zblkFormat), 'the same').toBeLessThan(100_000)
    if (zblkFormat === 'zblk0') return
    const random = new Random(7)
    const edited = content(1)
    for (let count = 0; count < 60; count++) {
      const off = random.below(SIZE - 300)
      edited.fill(1 + count, off, off + 300)
    }
    expect(await growth(database, edited, step, zblkFormat), 'edits').toBeLessThan(60 * 2 * 4096 + 200_000)
    expect(await growth(database, content(2), step, zblkFormat), 'other content').toBeGreaterThan(SIZE)
  },
)

test('pages written repeatedly without change are detected', async () => {
  const database = temporaryDatabase()
  const bytes = content(1)
  const paths = await openPaths(database, { zblkFormat: 'zblk1', commitIntervalMs: 1e9 })
  const file = await paths.create('file')
  await writeAll(paths, file, bytes, 4096)
  await paths.fs.sync()
  const before = await databaseBytes(database)
  for (let round = 0; round < 10; round++) {
    // Not adjacent: adjacent chunks would be one run.
    for (let off = 0; off < SIZE; off += 8 * 4096)
      await paths.fs.write(file.ino, file.fh, BigInt(off), bytes.subarray(off, off + 4096))
    await paths.fs.sync()
  }
  expect((await databaseBytes(database)) - before).toBeLessThan(600_000)
  await paths.fs.close()
})
