/**
 * The access log: a line for each request, for the readers of `.zblkfs/accesslog`. Without a reader nothing is recorded.
 *
 *     2026-11-26T13:00:00.123Z uid=1000 gid=1000 pid=4711 read "/disk.img" off=4096 len=131072 OK 0.000123
 *
 * The fields: when it was answered; the caller; the operation; the path, or `ino=N` if its directories are not in memory;
 * its parameters; OK or the error; seconds. Paths and names are JSON strings.
 *
 * Each reader has a queue of at most {@link QUEUE_MAX_BYTES}. If a reader is slower than the requests, lines are dropped for it, and a
 * line that begins with `#` tells how many.
 */
import { getSystemErrorName } from 'node:util'
import { NO_BYTES } from '../../store/bytes.ts'
import { ErrnoError } from './errno.ts'
import type { Caller, Ino } from './operations.ts'

const QUEUE_MAX_BYTES = 4 << 20
/** Memory of a line in a queue beside its bytes. */
const LINE_BYTES = 100
const READERS_MAX = 16

/** A request as its driver describes it. */
export interface LoggedRequest {
  readonly operation: string
  readonly ino: Ino
  readonly caller: Caller
  /** A name in the directory `ino`, one character per byte. */
  readonly name?: string | undefined
  /** Further parameters, as `off=0 len=4096`. */
  readonly parameters?: string
}

export interface AccessLogOptions {
  /** The path of an inode, one character per byte, without a leading slash; undefined if it is not known. */
  readonly pathOf: (ino: Ino) => string | undefined
  /** Whether requests for an inode are left out. */
  readonly isLeftOut: (ino: Ino) => boolean
}

export class AccessLog {
  readonly #readers = new Set<AccessLogReader>()
  readonly #options: AccessLogOptions
  #isClosed = false

  constructor(options: AccessLogOptions) {
    this.#options = options
  }

  /** Whether there is a reader. */
  get isOn(): boolean {
    return this.#readers.size > 0
  }

  /** Records an answered request. @param errno positive; 0: it succeeded. */
  answered(request: LoggedRequest, elapsedMs: number, errno: number): void {
    if (this.#options.isLeftOut(request.ino)) return
    const line = Buffer.from(this.#lineOf(request, elapsedMs, errno))
    for (const reader of this.#readers) reader.put(line)
  }

  /** @throws ErrnoError ENFILE */
  open(): AccessLogReader {
    if (this.#readers.size >= READERS_MAX)
      throw new ErrnoError('ENFILE', 'the access log has too many readers')
    const reader = new AccessLogReader(() => this.#readers.delete(reader))
    if (this.#isClosed) reader.end()
    else this.#readers.add(reader)
    return reader
  }

  /** Ends the log for all readers: waiting reads return, and later ones find its end. */
  close(): void {
    this.#isClosed = true
    for (const reader of this.#readers) reader.end()
  }

  #lineOf({ operation, ino, caller, name, parameters }: LoggedRequest, ms: number, errno: number): string {
    const { uid, gid, pid } = caller
    const shown = shownPath(ino, this.#options.pathOf(ino), name)
    const result = errno === 0 ? 'OK' : getSystemErrorName(-errno)
    const details = parameters === undefined || parameters === '' ? '' : ` ${parameters}`
    return `${new Date().toISOString()} uid=${uid} gid=${gid} pid=${pid} ${operation} ${shown}${details} ${result} ${(ms / 1000).toFixed(6)}\n`
  }
}

function shownPath(ino: Ino, path: string | undefined, name: string | undefined): string {
  if (path === undefined) return name === undefined ? `ino=${ino}` : `ino=${ino} ${quoted(name)}`
  if (name === undefined) return quoted(`/${path}`)
  return quoted(path === '' ? `/${name}` : `/${path}/${name}`)
}

/** A stored path or name as a JSON string, on one line. */
export const quoted = (stored: string): string =>
  JSON.stringify(Buffer.from(stored, 'latin1').toString('utf8')).replaceAll(
    /[\u007f-\u009f\u2028\u2029]/g,
    escaped,
  )

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/** One reader's part of the log. */
export class AccessLogReader {
  readonly #onClose: () => void
  /** The lines from {@link AccessLogReader.#first} on wait to be read. */
  #queue: Buffer[] = []
  #first = 0
  /** Their memory. */
  #queuedBytes = 0
  #dropped = 0
  #isEnded = false
  /** Resolves the wait of a read for the next line, or the end. */
  #wake: (() => void) | undefined
  /** The last read: reads are answered in order. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(onClose: () => void) {
    this.#onClose = onClose
  }

  /** Adds a line, or drops it if the queue is full. */
  put(line: Buffer): void {
    if (this.#queuedBytes >= QUEUE_MAX_BYTES) {
      this.#dropped++
      return
    }
    if (this.#dropped > 0) {
      this.#push(Buffer.from(`# ${this.#dropped} lines were dropped: the log is read too slowly\n`))
      this.#dropped = 0
    }
    this.#push(line)
  }

  /** The next bytes, at most `len`; waits for them. Empty at the end of the log. */
  read(len: number): Promise<Uint8Array> {
    const next = this.#last.then(() => this.#next(len))
    this.#last = next
    return next
  }

  /** Ends the log for this reader. */
  end(): void {
    this.#isEnded = true
    this.#wake?.()
  }

  close(): void {
    this.end()
    this.#onClose()
  }

  async #next(len: number): Promise<Uint8Array> {
    while (this.#queuedBytes === 0 && !this.#isEnded)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    if (this.#queuedBytes === 0) return NO_BYTES
    return Buffer.concat(this.#take(len))
  }

  /** Takes at most `len` bytes from the queue, without copying those that stay. */
  #take(len: number): readonly Uint8Array[] {
    const taken: Uint8Array[] = []
    let left = len
    for (
      let line = this.#queue[this.#first];
      line !== undefined && left > 0;
      line = this.#queue[this.#first]
    ) {
      const part = line.subarray(0, left)
      taken.push(part)
      left -= part.length
      this.#queuedBytes -= part.length
      if (part.length < line.length) this.#queue[this.#first] = line.subarray(part.length)
      else {
        this.#first++
        this.#queuedBytes -= LINE_BYTES
      }
    }
    if (this.#first === this.#queue.length) this.#queue = []
    else if (this.#first * 2 > this.#queue.length) this.#queue = this.#queue.slice(this.#first)
    else return taken
    this.#first = 0
    return taken
  }

  #push(line: Buffer): void {
    this.#queue.push(line)
    this.#queuedBytes += line.length + LINE_BYTES
    this.#wake?.()
    this.#wake = undefined
  }
}
