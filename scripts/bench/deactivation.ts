/**
 * Shows which objects remain in memory after blocks were served: `npm run bench:deactivation`.
 *
 * Blocks of 512 chunks are served one after the other, with and without deactivation of their chunk trees. Without,
 * each block's chunks are loaded as objects and kept. Prints the objects that each block
 * adds, by class and state, and the resident memory.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { BigFile } from '../../core/big-file/big-file.ts'
import { Connection } from '../../core/objects/connection.ts'
import type { ClassCounts } from '../../core/objects/object-cache.ts'
import { Ref } from '../../core/objects/pickle/value.ts'
import { BLKSIZE, ZBigFile } from '../../core/zblk/zbigfile.ts'
import { ZBlk1 } from '../../core/zblk/zblk.ts'
import type { Oid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { openDatabase } from '../../store/open-store.ts'

const BLOCKS = 48
/** The size of a mount's cache, and one for every object of the experiment. */
const CACHE_BYTES = { on: 32 << 20, off: 1 << 30 }

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Serves a block and turns its objects into ghosts again. */
async function serve(file: BigFile, blk: number): Promise<void> {
  await file.read(BigInt(blk) * BigInt(BLKSIZE), BLKSIZE)
}

/** Serves a block through objects, which stay loaded. */
async function serveAndKeep(file: BigFile, blk: number, kept: unknown[]): Promise<void> {
  const { jar, blktab } = file.file
  const ref = await blktab.get(blk)
  const block = ref instanceof Ref ? jar.resolve(ref) : undefined
  if (!(block instanceof ZBlk1)) throw new Error(`block ${blk} is not a ZBlk1`)
  await block.activate()
  const { chunktab } = block
  const chunks = []
  for await (const [, chunk] of chunktab.range()) if (chunk instanceof Ref) chunks.push(jar.resolve(chunk))
  await jar.loadMany(chunks)
  for (const child of chunktab.content.children) kept.push(jar.resolve(child))
  kept.push(block, ...chunks)
}

async function settledCounts(connection: Connection): Promise<Readonly<Record<string, ClassCounts>>> {
  for (let i = 0; i < 3; i++) {
    collectGarbage()
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return connection.statistics().classes
}

async function experiment(store: Store, oid: Oid, mode: 'on' | 'off'): Promise<void> {
  const connection = await Connection.open(store, { cacheSizeBytes: CACHE_BYTES[mode] })
  const object = connection.get(oid, ZBigFile.CLASS_NAME)
  if (!(object instanceof ZBigFile)) throw new Error('the object is not a file')
  const file = await BigFile.open(connection, object)
  const kept: unknown[] = []
  const next = (blk: number): Promise<void> =>
    mode === 'on' ? serve(file, blk) : serveAndKeep(file, blk, kept)
  const warm = BLOCKS / 3
  // Served repeatedly, until the memory of the allocator and the store has reached its steady state.
  for (let i = 0; i < (mode === 'on' ? 10 * warm : warm); i++) await next(i % warm)
  const before = await settledCounts(connection)
  const rssBefore = process.memoryUsage().rss
  for (let blk = warm; blk < BLOCKS; blk++) await next(blk)
  const after = await settledCounts(connection)
  const rssPerBlock = (process.memoryUsage().rss - rssBefore) / (BLOCKS - warm)

  console.log(`\nDeactivation ${mode}: objects that each block of ${BLKSIZE >> 20} MiB adds`)
  console.log('class        ghosts  up to date  changed')
  for (const [name, counts] of Object.entries(after)) {
    const added = (state: keyof ClassCounts): string =>
      String((counts[state] - (before[name]?.[state] ?? 0)) / (BLOCKS - warm))
    if (['ghosts', 'upToDate', 'changed'].every(state => added(state as keyof ClassCounts) === '0')) continue
    const row = [added('ghosts').padStart(7), added('upToDate').padStart(11), added('changed').padStart(8)]
    console.log(`${(name.split('.').at(-1) ?? name).padEnd(12)}${row.join(' ')}`)
  }
  console.log(`resident memory: ${(rssPerBlock / 1000).toFixed(1)} kB a block`)
}

const directory = await mkdtemp(join(tmpdir(), 'zblkfs-deactivation-'))
try {
  const store = await openDatabase(join(directory, 'db'), { create: true })
  const connection = await Connection.open(store, {
    cacheSizeBytes: CACHE_BYTES.on,
    zblkFormat: 'zblk1',
    chunkBytesMax: 4096,
  })
  const file = await BigFile.create(connection)
  const data = new Uint8Array(BLKSIZE).map((_, i) => (i % 251) + 1)
  for (let blk = 0; blk < BLOCKS; blk++) {
    await file.write(BigInt(blk) * BigInt(BLKSIZE), data)
    await connection.prepare()
    await connection.commit()
  }
  console.log(`${BLOCKS} blocks of 512 chunks, served one after the other`)
  await experiment(store, file.file.oid, 'on')
  await experiment(store, file.file.oid, 'off')
  await store.close()
} finally {
  await rm(directory, { recursive: true, force: true })
}
