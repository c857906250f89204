/**
 * Indexes and reads a large FileStorage; prints the time and memory of each step.
 *
 *     npm run bench:filestorage -- [GiB]
 *
 * The file (by default 2 GiB, in the temporary directory, removed afterwards) is sparse: three quarters of it are
 * records of 2 MiB, the rest records of 4 KiB, in transactions of 32 MiB; headers are written, data are holes.
 * The same scan and reads with plain read(2) are printed for comparison, as the cost of the file itself.
 */
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tid, TID_MAX, TID_NONE } from '../../store/ids.ts'
import { openForeignDatabase } from '../../store/open-store.ts'
import { SparseFileStorage } from './sparse-file-storage.ts'

const MIB = 2 ** 20
const TRANSACTION_BYTES = 32 * MIB
/** Number of objects loaded per call. */
const BATCH = 32

function writeSparse(path: string, size: number): void {
  const file = new SparseFileStorage(path)
  const nothing = new Uint8Array(0)
  let oid = 0
  for (let count = 1n; file.length < size; count++) {
    const dataBytes = count % 4n === 0n ? 4096 : 2 * MIB
    file.begin(tid(count))
    for (let i = 0; i < TRANSACTION_BYTES / dataBytes; i++) file.record(oid++, nothing, dataBytes)
    file.end()
  }
  file.close()
}

const residentMib = (): string => `${(process.memoryUsage.rss() / MIB).toFixed(0)} MiB resident`

function report(what: string, bytes: number, startMs: number): void {
  const seconds = (performance.now() - startMs) / 1000
  console.log(
    `${what}: ${seconds.toFixed(2)} s, ${(bytes / MIB / seconds).toFixed(0)} MiB/s, ${residentMib()}`,
  )
}

/** Prints the memory after each eighth. */
function eighths(what: string): (done: number, total: number) => void {
  let next = 1
  return (done, total) => {
    if (done < (total * next) / 8) return
    next = Math.floor((done * 8) / total) + 1
    console.log(`  ${what} ${Math.round((done / total) * 100)} %: ${residentMib()}`)
  }
}

function readPlainly(path: string): number {
  const fd = openSync(path, 'r')
  const bytes = Buffer.alloc(2 * MIB)
  const { size } = fstatSync(fd)
  for (let pos = 0; pos < size;) pos += readSync(fd, bytes, 0, bytes.length, pos)
  closeSync(fd)
  return size
}

const directory = mkdtempSync(join(tmpdir(), 'zblkfs-bench-filestorage-'))
try {
  const path = join(directory, 'Data.fs')
  writeSparse(path, Number(process.argv[2] ?? 2) * 1024 * MIB)
  console.log(`before: ${residentMib()}`)
  let start = performance.now()
  const size = readPlainly(path)
  report('read(2) of the whole file', size, start)

  start = performance.now()
  const cacheDirectory = join(directory, 'cache')
  const store = await openForeignDatabase(path, { cacheDirectory, progress: eighths('indexed') })
  report('first opening', size, start)

  start = performance.now()
  const read = eighths('read')
  let bytes = 0
  for await (const { oids } of store.changes(TID_NONE))
    for (let i = 0; i < oids.length; i += BATCH) {
      const batch = oids.slice(i, i + BATCH)
      for (const revision of await store.load(batch, TID_MAX)) bytes += revision?.record.length ?? 0
      read(bytes, size)
    }
  report('load of every object', bytes, start)
  await store.close()

  start = performance.now()
  await (await openForeignDatabase(path, { cacheDirectory })).close()
  console.log(`second opening: ${(performance.now() - start).toFixed(1)} ms, ${residentMib()}`)
} finally {
  rmSync(directory, { recursive: true })
}
