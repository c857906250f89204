/**
 * Random operations on one file, each compared with a model of its bytes in memory.
 *
 * Reads and writes, through maps too, truncations, holes, zeroed ranges, copied ranges, fsync, closing and
 * opening; and where a harness offers it, a remount, and reads of the file as it once was. The same seed does the
 * same operations on every filesystem that has them all.
 *
 * Offsets and lengths cluster around the bounds of pages and of 2 MiB blocks, where bugs are likely.
 */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs'
import * as sys from '../posix/syscalls.ts'
import { Random } from './random.ts'

const KiB = 1024
const BLOCK = 2048 * KiB
const PAGE = 4 * KiB
/** The file stays below this: four blocks, the last one short. */
const MAX_SIZE = 3 * BLOCK + 700_001
const MAX_LENGTH = 128 * KiB
/** Number of operations that a failure reports. */
const TOLD = 25

/** What a harness can do for a run. */
export interface Harness {
  /** Unmounts and mounts again; nothing of the file is open. */
  remount?(): Promise<void>
  /** Resolves to a path that keeps showing the present state. */
  moment?(path: string): Promise<string>
}

/** File and model differ, or an operation failed that should not. */
export class FsxFailure extends Error {
  override readonly name = 'FsxFailure'
}

type Operation =
  | 'read'
  | 'write'
  | 'mapRead'
  | 'mapWrite'
  | 'truncate'
  | 'punchHole'
  | 'zeroRange'
  | 'allocate'
  | 'copyRange'
  | 'seek'
  | 'sync'
  | 'reopen'

/** One run: a file, its model, and the operations. */
export class FsxFile {
  readonly #path: string
  readonly #random: Random
  readonly #harness: Harness
  readonly #model = Buffer.alloc(MAX_SIZE + MAX_LENGTH)
  readonly #scratch = Buffer.alloc(MAX_SIZE)
  readonly #noise = Buffer.alloc(2 * MAX_LENGTH)
  readonly #last: string[] = []
  readonly #moments: { readonly path: string; readonly bytes: Buffer }[] = []
  readonly #unsupported = new Set<string>()
  #size = 0
  #fd: number
  #count = 0

  constructor(path: string, seed: number, harness: Harness = {}) {
    this.#path = path
    this.#random = new Random(seed)
    this.#harness = harness
    for (let at = 0; at < this.#noise.length; at++) this.#noise[at] = 1 + this.#random.below(255)
    this.#fd = openSync(path, 'w+')
  }

  /** How many operations were done. */
  get count(): number {
    return this.#count
  }

  /** The last operations, oldest first. */
  get last(): readonly string[] {
    return this.#last
  }

  /** Operations that the filesystem was found not to support. */
  get unsupported(): readonly string[] {
    return [...this.#unsupported]
  }

  /** Does the next operation and compares. @throws FsxFailure */
  async step(): Promise<void> {
    const choice = this.#random.below(10_000)
    this.#count++
    if (choice < REMOUNTS) await this.#remount()
    else if (choice < REMOUNTS + TRAVELS) await this.#travel()
    else {
      const operation = chosen(choice)
      try {
        this.#note(`${operation} ${this[operation]()}`)
      } catch (error) {
        if (error instanceof FsxFailure) throw error
        if (!isUnsupported(error)) throw this.#failure(`${operation}: ${String(error)}`)
        this.#unsupported.add(operation)
      }
    }
    const { size } = fstatSync(this.#fd)
    if (size !== this.#size) throw this.#failure(`the size is ${size}, expected ${this.#size}`)
  }

  /** Compares the whole file, and removes it. @throws FsxFailure */
  finish(): void {
    this.#compareAll()
    closeSync(this.#fd)
    unlinkSync(this.#path)
  }

  #note(operation: string): void {
    this.#last.push(`${this.#count}: ${operation}`)
    if (this.#last.length > TOLD) this.#last.shift()
  }

  #failure(message: string): FsxFailure {
    return new FsxFailure(`operation ${this.#count}: ${message}\n${this.#last.join('\n')}`)
  }

  /** An offset in [0, bound], often at or next to a page's or a block's bound. */
  #offset(bound: number): number {
    const off = this.#random.below(bound + 1)
    const kind = this.#random.below(8)
    if (kind > 2) return off
    const unit = kind === 0 ? BLOCK : PAGE
    const near = Math.round(off / unit) * unit + (kind === 2 ? this.#random.below(3) - 1 : 0)
    return Math.min(Math.max(near, 0), bound)
  }

  #length(bound: number): number {
    const longest = Math.min(bound, this.#random.below(20) === 0 ? MAX_LENGTH : 16 * KiB)
    return longest <= 0 ? 0 : 1 + this.#random.below(longest)
  }

  /** A range that may reach beyond the end, but not beyond MAX_SIZE. */
  #range(): readonly [off: number, len: number] {
    const off = this.#offset(Math.min(this.#size + 64 * KiB, MAX_SIZE - 1))
    return [off, this.#length(MAX_SIZE - off)]
  }

  /** A range inside the file; undefined if it is empty. */
  #inside(): readonly [off: number, len: number] | undefined {
    if (this.#size === 0) return undefined
    const off = this.#offset(this.#size - 1)
    return [off, this.#length(this.#size - off)]
  }

  #data(len: number): Buffer {
    const at = this.#random.below(this.#noise.length - len + 1)
    return this.#noise.subarray(at, at + len)
  }

  #grow(end: number): void {
    this.#size = Math.max(this.#size, end)
  }

  #compare(got: Buffer, off: number, how: string): void {
    const expected = this.#model.subarray(off, off + got.length)
    if (got.equals(expected)) return
    let at = 0
    while (got[at] === expected[at]) at++
    const wrong = got.subarray(at, at + 8).toString('hex')
    throw this.#failure(
      `${how} of [${off}, ${off + got.length}): at ${off + at} ${wrong} was read, ` +
        `${expected.subarray(at, at + 8).toString('hex')} expected`,
    )
  }

  #compareAll(): void {
    const got = this.#scratch.subarray(0, readWhole(this.#fd, this.#scratch))
    if (got.length !== this.#size)
      throw this.#failure(`${got.length} bytes were read, expected ${this.#size}`)
    this.#compare(got, 0, 'a read')
  }

  read(): string {
    const [off, len] = this.#range()
    const got = this.#scratch.subarray(0, readSync(this.#fd, this.#scratch, 0, len, off))
    const expected = Math.max(0, Math.min(len, this.#size - off))
    if (got.length !== expected)
      throw this.#failure(`${got.length} bytes read at ${off}, expected ${expected}`)
    this.#compare(got, off, 'a read')
    return `[${off}, ${off + len})`
  }

  write(): string {
    const [off, len] = this.#range()
    const data = this.#data(len)
    const written = writeSync(this.#fd, data, 0, len, off)
    if (written !== len) throw this.#failure(`${written} of ${len} bytes written`)
    data.copy(this.#model, off)
    this.#grow(off + len)
    return `[${off}, ${off + len})`
  }

  mapRead(): string {
    const range = this.#inside()
    if (range === undefined) return 'nothing'
    const [off, len] = range
    const start = off - (off % PAGE)
    using map = new sys.Mapping(this.#fd, off + len - start, { off: start, readOnly: true })
    this.#compare(map.bytes.subarray(off - start), off, 'a mapped read')
    return `[${off}, ${off + len})`
  }

  mapWrite(): string {
    const range = this.#inside()
    if (range === undefined) return 'nothing'
    const [off, len] = range
    const start = off - (off % PAGE)
    const data = this.#data(len)
    using map = new sys.Mapping(this.#fd, off + len - start, { off: start })
    data.copy(map.bytes, off - start)
    if (this.#random.below(8) === 0) map.sync()
    data.copy(this.#model, off)
    return `[${off}, ${off + len})`
  }

  truncate(): string {
    const size = this.#offset(this.#random.below(4) === 0 ? MAX_SIZE : Math.min(MAX_SIZE, this.#size + BLOCK))
    sys.ftruncate(this.#fd, size)
    if (size < this.#size) this.#model.fill(0, size, this.#size)
    this.#size = size
    return `to ${size}`
  }

  punchHole(): string {
    const [off, len] = this.#spread()
    sys.fallocate(this.#fd, sys.FALLOC_FL_PUNCH_HOLE | sys.FALLOC_FL_KEEP_SIZE, off, len)
    this.#model.fill(0, off, Math.max(off, Math.min(off + len, this.#size)))
    return `[${off}, ${off + len})`
  }

  zeroRange(): string {
    const [off, len] = this.#spread()
    const keep = this.#random.below(2) === 0
    sys.fallocate(this.#fd, sys.FALLOC_FL_ZERO_RANGE | (keep ? sys.FALLOC_FL_KEEP_SIZE : 0), off, len)
    this.#model.fill(0, off, Math.max(off, Math.min(off + len, this.#size)))
    if (!keep) this.#grow(off + len)
    return `[${off}, ${off + len})${keep ? ' keeping the size' : ''}`
  }

  allocate(): string {
    const [off, len] = this.#range()
    const keep = this.#random.below(2) === 0
    if (len === 0) return 'nothing'
    sys.fallocate(this.#fd, keep ? sys.FALLOC_FL_KEEP_SIZE : 0, off, len)
    if (!keep) this.#grow(off + len)
    return `[${off}, ${off + len})${keep ? ' keeping the size' : ''}`
  }

  /** A range of up to two blocks. */
  #spread(): readonly [off: number, len: number] {
    const off = this.#offset(Math.min(this.#size + 64 * KiB, MAX_SIZE - 1))
    const longest = Math.min(MAX_SIZE - off, this.#random.below(4) === 0 ? 2 * BLOCK : 64 * KiB)
    return [off, 1 + this.#random.below(longest)]
  }

  copyRange(): string {
    const range = this.#inside()
    if (range === undefined) return 'nothing'
    const [from, short] = range
    const len = this.#random.below(4) === 0 ? Math.min(BLOCK, this.#size - from) : short
    const to = this.#offset(MAX_SIZE - len)
    if (from < to + len && to < from + len) return 'nothing: the ranges overlap'
    for (let done = 0; done < len;) {
      const rest = { from: { fd: this.#fd, off: from + done }, to: { fd: this.#fd, off: to + done } }
      const copied = sys.copyFileRange(rest.from, rest.to, len - done)
      if (copied === 0)
        throw this.#failure(`a copy from ${from + done} stopped after ${done} of ${len} bytes`)
      done += copied
    }
    this.#model.copy(this.#model, to, from, from + len)
    this.#grow(to + len)
    return `[${from}, ${from + len}) to ${to}`
  }

  /** What SEEK_DATA and SEEK_HOLE skip as a hole must be zeros in the model. */
  seek(): string {
    if (this.#size === 0) return 'nothing'
    const off = this.#offset(this.#size - 1)
    const data = seekOr(this.#fd, off, sys.SEEK_DATA, this.#size)
    if (data < off || data > this.#size) throw this.#failure(`SEEK_DATA from ${off} is ${data}`)
    const zeros = this.#model.subarray(off, data)
    if (!zeros.equals(this.#scratch.subarray(0, zeros.length).fill(0)))
      throw this.#failure(`SEEK_DATA from ${off} skips data before ${data}`)
    const hole = seekOr(this.#fd, off, sys.SEEK_HOLE, this.#size)
    if (hole < off || hole > this.#size) throw this.#failure(`SEEK_HOLE from ${off} is ${hole}`)
    return `from ${off}: data ${data}, hole ${hole}`
  }

  sync(): string {
    fsyncSync(this.#fd)
    return ''
  }

  reopen(): string {
    closeSync(this.#fd)
    this.#fd = openSync(this.#path, 'r+')
    this.#compareAll()
    return ''
  }

  async #remount(): Promise<void> {
    if (this.#harness.remount !== undefined) {
      closeSync(this.#fd)
      await this.#harness.remount()
      this.#fd = openSync(this.#path, 'r+')
      this.#compareAll()
    }
    this.#note('remount')
  }

  /** Remembers the present, or reads a remembered moment. */
  async #travel(): Promise<void> {
    if (this.#harness.moment === undefined) return this.#note('travel')
    if (this.#moments.length < 4) {
      const path = await this.#harness.moment(this.#path)
      this.#moments.push({ path, bytes: Buffer.from(this.#model.subarray(0, this.#size)) })
      return this.#note(`remember ${path}`)
    }
    const moment = this.#moments.shift()!
    const fd = openSync(moment.path, 'r')
    const got = this.#scratch.subarray(0, readWhole(fd, this.#scratch))
    closeSync(fd)
    if (!got.equals(moment.bytes)) throw this.#failure(`${moment.path} is not what it was`)
    this.#note(`travel to ${moment.path}`)
  }
}

/** How often, of 10,000 operations, what costs a harness much is done. */
const REMOUNTS = 2
const TRAVELS = 6

/** How often each of the others is done. */
const WEIGHTS: Readonly<Record<Operation, number>> = {
  read: 2300,
  write: 3000,
  mapRead: 900,
  mapWrite: 1000,
  truncate: 700,
  punchHole: 450,
  zeroRange: 450,
  allocate: 202,
  copyRange: 450,
  seek: 400,
  sync: 60,
  reopen: 80,
}

/** The operation that a number in [REMOUNTS + TRAVELS, 10,000) stands for. */
function chosen(choice: number): Operation {
  let rest = choice - REMOUNTS - TRAVELS
  for (const [operation, weight] of Object.entries(WEIGHTS) as [Operation, number][]) {
    if (rest < weight) return operation
    rest -= weight
  }
  throw new RangeError(`the weights add up to less than ${choice}`)
}

function isUnsupported(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'EOPNOTSUPP' || code === 'ENOTSUP' || code === 'ENOSYS'
}

/** An offset returned by lseek; `none` after the last one. */
function seekOr(fd: number, off: number, whence: number, none: number): number {
  try {
    return Number(sys.lseek(fd, off, whence))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENXIO') return none
    throw error
  }
}

/** Reads a file from its start; returns its length, at most the buffer's. */
function readWhole(fd: number, into: Buffer): number {
  let done = 0
  for (;;) {
    const got = readSync(fd, into, done, into.length - done, done)
    if (got === 0) return done
    done += got
  }
}
