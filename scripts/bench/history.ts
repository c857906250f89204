/**
 * The cost of reading history: `npm run bench:history`.
 *
 * 1. Opening a moment and reading 4 KiB there, after 10 and after 10,000 transactions: the ratio should be about 1.
 * 2. The diff of two moments of a sparse 64 GiB file with one changed chunk.
 * 3. Cloning a file, compared with reading it.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { differences } from '../../core/history/difference.ts'
import { historyOf } from '../../mount/daemon/history-calls.ts'
import { FileSystem } from '../../core/file-system/file-system.ts'
import { ROOT_INO, type Fh, type Ino, name as toName } from '../../core/file-system/operations.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'

const CALLER = { uid: 0, gid: 0, pid: 1 }
const TRANSACTIONS = Number(process.argv[2] ?? 10_000)
const SMALL = 10
const ROUNDS = 50
const CHUNK = 4096
const GiB = 1n << 30n
const CLONED_BYTES = 256 << 20

async function create(fs: FileSystem, name: string): Promise<{ ino: Ino; fh: Fh }> {
  const { entry, file } = await fs.create(ROOT_INO, toName(name), 0o644, 2, CALLER)
  return { ino: entry.attributes.ino, fh: file.fh }
}

/** The median duration of `run`, in milliseconds. */
async function median(rounds: number, run: () => Promise<void>): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < rounds; i++) {
    const start = performance.now()
    await run()
    times.push(performance.now() - start)
  }
  return times.sort((a, b) => a - b)[rounds >> 1] ?? 0
}

async function openAndRead(fs: FileSystem, at: Tid): Promise<void> {
  const root = await fs.lookup(ROOT_INO, toName(`@${formatTid(at)}`))
  const file = await fs.lookup(root.attributes.ino, toName('file'))
  const { ino } = file.attributes
  const { fh } = await fs.open(ino, 0)
  await fs.read(ino, fh, 0n, CHUNK)
  await fs.release(ino, fh)
  fs.forget(ino, 1)
  fs.forget(root.attributes.ino, 1)
}

async function benchMoments(fs: FileSystem): Promise<void> {
  const { ino, fh } = await create(fs, 'file')
  const first = await fs.sync()
  let few = 0
  for (let i = 1; i <= TRANSACTIONS; i++) {
    await fs.write(ino, fh, BigInt((i % 256) * CHUNK), Buffer.alloc(CHUNK, i))
    await fs.sync()
    if (i === SMALL) few = await median(ROUNDS, () => openAndRead(fs, first))
  }
  const last = await fs.lastTid()
  const [early, late] = [
    await median(ROUNDS, () => openAndRead(fs, first)),
    await median(ROUNDS, () => openAndRead(fs, last)),
  ]
  console.log(`opening /@tid and reading 4 KiB: ${few.toFixed(2)} ms after ${SMALL} transactions`)
  console.log(
    `  after ${TRANSACTIONS}: ${early.toFixed(2)} ms (the first moment, x ${(early / few).toFixed(2)}), ` +
      `${late.toFixed(2)} ms (the last, x ${(late / few).toFixed(2)})`,
  )
  await fs.release(ino, fh)
}

async function benchDifference(fs: FileSystem, path: string): Promise<void> {
  const { ino, fh } = await create(fs, 'sparse')
  for (let gib = 0n; gib < 64n; gib++) await fs.write(ino, fh, gib * GiB, Buffer.alloc(CHUNK, 1))
  await fs.setattr(ino, { size: 64n * GiB })
  const before = await fs.sync()
  await fs.write(ino, fh, 40n * GiB, Buffer.alloc(CHUNK, 2))
  const after = await fs.sync()
  await fs.release(ino, fh)
  const store = await openDatabase(path, { readOnly: true })
  let description = ''
  const time = await median(ROUNDS, async () => {
    for await (const { path, ranges } of differences(store, before, after))
      description = `${path} ${ranges.map(({ lo, hi }) => `[${lo}, ${hi})`).join(' ')}`
  })
  await store.close()
  console.log(`diff of two moments of a sparse 64 GiB file: ${time.toFixed(2)} ms (${description})`)
}

async function benchClone(fs: FileSystem): Promise<void> {
  for (const chunk of [2 << 20, CHUNK]) {
    const name = chunk === CHUNK ? 'in chunks' : 'whole blocks'
    const { ino, fh } = await create(fs, name)
    const bytes = chunk === CHUNK ? CLONED_BYTES / 16 : CLONED_BYTES
    // Every second chunk, so that blocks are not full.
    for (let off = 0; off < bytes; off += chunk === CHUNK ? 2 * CHUNK : chunk)
      await fs.write(ino, fh, BigInt(off), Buffer.alloc(chunk, off / CHUNK))
    await fs.sync()
    const read = await median(1, async () => {
      for (let off = 0; off < bytes; off += 1 << 20) await fs.read(ino, fh, BigInt(off), 1 << 20)
    })
    const cloned = await median(1, async () => void (await historyOf(fs).clone(name, `${name} cloned`)))
    await fs.release(ino, fh)
    console.log(
      `clone of ${bytes >> 20} MiB in ${name}: ${cloned.toFixed(0)} ms; reading it: ${read.toFixed(0)} ms ` +
        `(x ${(cloned / read).toFixed(2)})`,
    )
  }
}

const directory = await mkdtemp(join(tmpdir(), 'zblkfs-bench-history-'))
try {
  const path = join(directory, 'db')
  const fs = await FileSystem.open(await openDatabase(path, { create: true }))
  await benchMoments(fs)
  await benchDifference(fs, path)
  await benchClone(fs)
  await fs.close()
} finally {
  await rm(directory, { recursive: true })
}
