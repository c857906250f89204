/**
 * Mounts a large FileStorage and reads its one file through the mount; prints the throughput and the daemon's
 * memory. The target at the end is at most 16 MiB above the value after the first GiB.
 *
 *     npm run bench:zodb -- [GiB]
 *
 * The FileStorage (by default 8 GiB, in the temporary directory, removed afterwards) is sparse: every eighth block is a
 * ZBlk1 of 512 chunks, the others are ZBlk0; headers are written, data are holes. The cost of reading the same bytes directly from the
 * FileStorage is printed for comparison.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { IO, LO, type KeyKind } from '../../core/btree/kind.ts'
import { PersistentMapping } from '../../core/objects/persistent-mapping.ts'
import { Ref, Tuple, type PickleValue } from '../../core/objects/pickle/value.ts'
import { encodeDataHead, encodeRecord, ZBLK0, ZDATA, type DataClass } from '../../core/objects/record.ts'
import { BLKSIZE, ZBigFile } from '../../core/zblk/zbigfile.ts'
import { ZBlk1 } from '../../core/zblk/zblk.ts'
import { oid as oidOf, ROOT_OID, tid as tidOf, type Oid } from '../../store/ids.ts'
import { SparseFileStorage } from './sparse-file-storage.ts'

const ZBLKFS = fileURLToPath(new URL('../zblkfs', import.meta.url))
const GIB = 2 ** 30
const CHUNK_BYTES = 4096
const LEAF = 30
const READ_BYTES = 1 << 20
const GROWTH_MAX_MIB = 16

/** One transaction of objects; the data of blocks and chunks are holes. */
class SparseObjects {
  readonly #file: SparseFileStorage
  #lastOid = 0

  constructor(path: string) {
    this.#file = new SparseFileStorage(path)
    this.#file.begin(tidOf(0x040d_2f7d_0000_0000n))
  }

  newOid(): Oid {
    return oidOf(++this.#lastOid)
  }

  record(oid: Oid, className: string, state: PickleValue): Ref {
    this.#file.record(oid, encodeRecord(className, state))
    return new Ref(oid, className)
  }

  data(className: DataClass, bytes: number): Ref {
    const oid = this.newOid()
    const { head, tail } = encodeDataHead(className, bytes)
    this.#file.record(oid, head, bytes, tail)
    return new Ref(oid, className)
  }

  /** A tree over values with ascending keys. */
  tree(kind: KeyKind<number>, keys: readonly number[], values: readonly Ref[]): Ref {
    const oids = Array.from({ length: Math.ceil(keys.length / LEAF) }, () => this.newOid())
    const children: PickleValue[] = []
    for (const [i, oid] of oids.entries()) {
      const part = keys.slice(i * LEAF, (i + 1) * LEAF)
      const entries = new Tuple(part.flatMap((key, j) => [key, values[i * LEAF + j] ?? null]))
      const next = oids[i + 1]
      const bucket = this.record(
        oid,
        kind.bucket,
        new Tuple(next === undefined ? [entries] : [entries, new Ref(next, kind.bucket)]),
      )
      if (i > 0) children.push(part[0] ?? null)
      children.push(bucket)
    }
    return this.record(this.newOid(), kind.tree, new Tuple([new Tuple(children), children[0] ?? null]))
  }

  /** Returns the FileStorage's length. */
  close(): number {
    this.#file.end()
    this.#file.close()
    return this.#file.length
  }
}

/** Returns the FileStorage's length. */
function makeFileStorage(path: string, blocks: number): number {
  const file = new SparseObjects(path)
  const offs = Array.from({ length: BLKSIZE / CHUNK_BYTES }, (_, i) => i * CHUNK_BYTES)
  const refs = Array.from({ length: blocks }, (_, blk) => {
    if (blk % 8 !== 0) return file.data(ZBLK0, BLKSIZE)
    const chunks = offs.map(() => file.data(ZDATA, CHUNK_BYTES))
    return file.record(file.newOid(), ZBlk1.CLASS_NAME, file.tree(IO, offs, chunks))
  })
  const blktab = file.tree(LO, [...refs.keys()], refs)
  const big = file.record(file.newOid(), ZBigFile.CLASS_NAME, new Tuple([BLKSIZE, blktab]))
  const root = new Map<PickleValue, PickleValue>([['big', big]])
  file.record(ROOT_OID, PersistentMapping.CLASS_NAME, new Map([['data', root]]))
  return file.close()
}

/** Reads a whole file; calls `each` after every GiB. Returns the duration in seconds. */
function readAll(path: string, each: (bytes: number) => void = () => {}): number {
  const fd = openSync(path, 'r')
  const buffer = Buffer.alloc(READ_BYTES)
  const started = performance.now()
  let done = 0
  for (let count = 1; count > 0;) {
    count = readSync(fd, buffer, 0, buffer.length, null)
    done += count
    if (count > 0 && done % GIB === 0) each(done)
  }
  closeSync(fd)
  return (performance.now() - started) / 1000
}

function memoryOf(pid: number): { readonly residentMiB: number; readonly peakMiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  const kib = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)
  return { residentMiB: kib('VmRSS') / 1024, peakMiB: kib('VmHWM') / 1024 }
}

const gib = Number(process.argv[2] ?? 8)
const directory = mkdtempSync(join(tmpdir(), 'zblkfs-bench-'))
process.env['XDG_CACHE_HOME'] = join(directory, 'cache')
const path = join(directory, 'Data.fs')
const mountPoint = join(directory, 'mnt')
mkdirSync(mountPoint)
try {
  const length = makeFileStorage(path, (gib * GIB) / BLKSIZE)
  console.log(`a FileStorage of ${(length / GIB).toFixed(1)} GiB`)
  const started = performance.now()
  execFileSync(ZBLKFS, ['mount', path, mountPoint])
  console.log(`indexed and mounted in ${((performance.now() - started) / 1000).toFixed(1)} s`)
  try {
    const list = JSON.parse(execFileSync(ZBLKFS, ['status', '--json'], { encoding: 'utf8' })) as {
      readonly directory: string
      readonly pid: number
    }[]
    const pid = list.find(mount => mount.directory === mountPoint)?.pid ?? 0
    console.log(`the daemon's memory: ${memoryOf(pid).residentMiB.toFixed(0)} MiB before reading`)
    const points: number[] = []
    const seconds = readAll(join(mountPoint, 'root', 'big'), bytes => {
      const { residentMiB } = memoryOf(pid)
      points.push(residentMiB)
      console.log(`  ${residentMiB.toFixed(0)} MiB after ${bytes / GIB} GiB`)
    })
    const growth = (points.at(-1) ?? Number.NaN) - (points[0] ?? Number.NaN)
    const isFlat = growth <= GROWTH_MAX_MIB
    if (!isFlat) process.exitCode = 1
    console.log(
      `  ${growth.toFixed(1)} MiB more at the end than after the first (at most ${GROWTH_MAX_MIB}): ` +
        `${isFlat ? 'flat' : 'NOT FLAT'}; ${memoryOf(pid).peakMiB.toFixed(0)} MiB at its peak`,
    )
    const rate = (gib * GIB) / 2 ** 20 / seconds
    const plain = length / 2 ** 20 / readAll(path)
    console.log(
      `read through the mount: ${rate.toFixed(0)} MiB/s; the FileStorage itself: ${plain.toFixed(0)} MiB/s; ratio ${(rate / plain).toFixed(2)}`,
    )
  } finally {
    execFileSync(ZBLKFS, ['umount', mountPoint])
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}
