/**
 * Indexes and reads a large FileStorage; prints the time and memory of each step.
 *
 *     npm run bench:filestorage -- [GiB]
 *
 * The file (by default 2 GiB, in the temporary directory, removed afterwards) is sparse: three quarters of it are
 * records of 2 MiB, the rest records of 4 KiB, in transactions of 32 MiB; headers are written, data are holes.
 * The same scan and reads with plain read(2) are printed for comparison, as the cost of the file itself.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import {
  encodeRecordHeader,
  encodeTransactionHeader,
  MAGIC,
  POINTER_LENGTH,
  RECORD_HEADER_LENGTH,
  TRANSACTION_HEADER_LENGTH,
} from '../../store/filestorage/format.ts'
import { TID_MAX, TID_NONE } from '../../store/ids.ts'

const MIB = 2 ** 20
const TRANSACTION_BYTES = 32 * MIB
/** Number of objects loaded per call. */
const BATCH = 32

function writeSparse(path: string, size: number): void {
  const fd = openSync(path, 'wx')
  writeSync(fd, MAGIC)
  let oid = 0
  let pos = MAGIC.length
  for (let tid = 1n; pos < size; tid++) {
    const transaction = pos
    const dataLength = tid % 4n === 0n ? 4096 : 2 * MIB
    const count = TRANSACTION_BYTES / dataLength
    const length = TRANSACTION_HEADER_LENGTH + count * (RECORD_HEADER_LENGTH + dataLength)
    const texts = { userLength: 0, descriptionLength: 0, extensionLength: 0 }
    writeSync(fd, encodeTransactionHeader({ pos, tid, length, status: ' ', ...texts }), 0, undefined, pos)
    pos += TRANSACTION_HEADER_LENGTH
    for (let i = 0; i < count; i++) {
      const header = { pos, oid: oid++, tid, previous: 0, transaction, versionLength: 0, length: dataLength }
      writeSync(fd, encodeRecordHeader(header), 0, undefined, pos)
      pos += RECORD_HEADER_LENGTH + dataLength
    }
    const second = Buffer.alloc(POINTER_LENGTH)
    second.writeBigUInt64BE(BigInt(length))
    writeSync(fd, second, 0, undefined, pos)
    pos += POINTER_LENGTH
  }
  ftruncateSync(fd, pos)
  closeSync(fd)
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
  const store = await openFileStorage(path, { cacheDirectory, progress: eighths('indexed') })
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
  await (await openFileStorage(path, { cacheDirectory })).close()
  console.log(`second opening: ${(performance.now() - start).toFixed(1)} ms, ${residentMib()}`)
} finally {
  rmSync(directory, { recursive: true })
}
