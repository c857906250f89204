/** The daemon's side of file operations over a control connection (operations-protocol.ts). */
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Awaitable } from '../../store/awaitable.ts'
import { isRoot } from '../../core/process-owner.ts'
import { ErrnoError } from '../../core/file-system/errno.ts'
import {
  fh as toFh,
  ino as toIno,
  type Entry,
  type Fh,
  type Ino,
  type OpenFile,
  type Operations,
} from '../../core/file-system/operations.ts'
import { type Check, flag, isObject, optional } from './answers.ts'
import { sentError } from './control-protocol.ts'
import { FrameError, FrameReader, sendFrame } from './operations-protocol.ts'
import { logFailure } from './log-failure.ts'

/** Maximum concurrent requests of one connection; at the limit the connection is not read. */
const REQUESTS_MAX = 64
const READ_MAX_BYTES = 4 << 20
/** XATTR_NAME_MAX of Linux. */
const ATTRIBUTE_NAME_MAX = 255
const READDIR_MAX = 4096
const NAME_MAX_BYTES = 255
const UINT32_MAX = 2 ** 32 - 1
const OFFSET_MAX = 2n ** 63n - 1n

const uint: Check = value => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= UINT32_MAX
const upTo =
  (max: number): Check =>
  value =>
    uint(value) && Number(value) <= max
const ino: Check = value => Number.isSafeInteger(value) && Number(value) > 0
const name: Check = value =>
  typeof value === 'string' &&
  value.length > 0 &&
  value.length <= NAME_MAX_BYTES &&
  /^[^\0/\u0100-\uffff]+$/.test(value)
const offset: Check = value => typeof value === 'bigint' && value >= 0n && value <= OFFSET_MAX
const bytes: Check = value => value instanceof Uint8Array
const shaped =
  (shape: Readonly<Record<string, Check>>): Check =>
  value =>
    isObject(value) && Object.entries(shape).every(([name, check]) => check(value[name]))
const caller = shaped({ uid: uint, gid: uint, pid: uint })
const time: Check = value => value === 'now' || typeof value === 'bigint'
const changes = shaped({
  dropsSetuid: optional(flag),
  mode: optional(uint),
  uid: optional(uint),
  gid: optional(uint),
  size: optional(offset),
  atimeNs: optional(time),
  mtimeNs: optional(time),
  fh: optional(uint),
})
const attribute: Check = value =>
  typeof value === 'string' && value.length > 0 && value.length <= ATTRIBUTE_NAME_MAX
const position = shaped({ ino, fh: uint, off: offset })

/** The operations that may be called, and their parameters. */
const PARAMETERS = {
  lookup: [ino, name, caller],
  getattr: [ino, optional(uint)],
  setattr: [ino, changes, caller],
  readlink: [ino],
  symlink: [ino, name, bytes, caller],
  mkdir: [ino, name, uint, caller],
  link: [ino, ino, name, caller, optional(flag)],
  unlink: [ino, name, caller],
  rmdir: [ino, name, caller],
  rename: [
    ino,
    name,
    ino,
    name,
    shaped({ noReplace: optional(flag), exchange: optional(flag), aside: optional(name) }),
    caller,
  ],
  open: [ino, uint, caller],
  create: [ino, name, uint, uint, caller],
  createUnnamed: [ino, uint, uint, caller],
  read: [ino, uint, offset, upTo(READ_MAX_BYTES)],
  write: [ino, uint, offset, bytes],
  append: [ino, uint, bytes],
  release: [ino, uint],
  fsync: [ino, uint, flag],
  allocate: [ino, uint, shaped({ keepSize: flag, punchHole: flag, zeroRange: flag }), offset, offset],
  seek: [ino, uint, offset, value => value === 'data' || value === 'hole'],
  copyFileRange: [position, position, offset],
  opendir: [ino, uint, caller],
  readdir: [ino, uint, offset, upTo(READDIR_MAX)],
  releasedir: [ino, uint],
  mknod: [ino, name, uint, uint, caller],
  statfs: [ino],
  getxattr: [ino, attribute],
  setxattr: [ino, attribute, bytes, uint, caller],
  listxattr: [ino],
  removexattr: [ino, attribute, caller],
} as const satisfies { readonly [Name in keyof Operations]?: readonly Check[] }

export type OperationName = keyof typeof PARAMETERS

export const OPERATION_NAMES = Object.keys(PARAMETERS) as readonly OperationName[]

/** Number of parameters of each operation on the wire. */
export const parameterCount = (name: OperationName): number => PARAMETERS[name].length

/** Serves a connection after the answer to its `operations` call. Never rejects. */
export function serveOperations(socket: Socket, operations: Operations, log: Logger): void {
  const session = new Session(socket, operations, log)
  const reader = new FrameReader()
  socket.on('data', (data: Buffer) => {
    try {
      for (const frame of reader.push(data)) session.request(frame)
    } catch (error) {
      logFailure(log, error, 'a program sent what is not an operation')
      socket.destroy()
    }
  })
  socket.on('end', () => socket.end())
  socket.on('close', () => void session.close())
}

class Session {
  readonly #socket: Socket
  readonly #operations: Operations
  readonly #log: Logger
  /** Handles and references of the client, released when the connection ends. */
  readonly #references = new Map<Ino, number>()
  readonly #files = new Map<Fh, Ino>()
  readonly #directories = new Map<Fh, Ino>()
  readonly #running = new Set<Promise<void>>()

  constructor(socket: Socket, operations: Operations, log: Logger) {
    this.#socket = socket
    this.#operations = operations
    this.#log = log
  }

  /** @throws FrameError if a frame is not a valid request. */
  request(frame: unknown): void {
    if (!isObject(frame) || !Array.isArray(frame['parameters']))
      throw new FrameError('a frame is not a request')
    const { id, operation, parameters } = frame
    if (operation === 'forget') return this.#forget(parameters[0], parameters[1])
    const checks = isOperation(operation) ? PARAMETERS[operation] : undefined
    if (checks === undefined || !checks.every((check, i) => check(parameters[i])))
      throw new FrameError(`${JSON.stringify(operation)} is not called like this`)
    const running = this.#run(Number(id), operation as OperationName, parameters.slice(0, checks.length))
    this.#running.add(running)
    if (this.#running.size >= REQUESTS_MAX) this.#socket.pause()
    void running.then(() => {
      this.#running.delete(running)
      this.#socket.resume()
    })
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#running)
    const close = async (closing: () => Awaitable<void>): Promise<void> => {
      await Promise.resolve()
        .then(closing)
        .catch(() => undefined)
    }
    for (const [fh, ino] of this.#files) await close(() => this.#operations.release(ino, fh))
    for (const [fh, ino] of this.#directories) await close(() => this.#operations.releasedir(ino, fh))
    for (const [ino, count] of this.#references) this.#operations.forget(ino, count)
  }

  async #run(id: number, name: OperationName, parameters: readonly unknown[]): Promise<void> {
    let answer: unknown
    try {
      this.#assertHeld(name, parameters)
      const method = this.#operations[name] as (...parameters: readonly unknown[]) => Promise<unknown>
      const result = await method.apply(
        this.#operations,
        CHANGES_DATA.has(name) ? [...parameters, isRoot] : [...parameters],
      )
      this.#note(name, parameters, result)
      answer = { id, result: name === 'read' ? copied(result as readonly Uint8Array[]) : result }
    } catch (error) {
      if (error instanceof ErrnoError) answer = { id, errno: error.code }
      else {
        logFailure(this.#log, error, 'an operation of a program failed', { operation: name })
        answer = { id, error: sentError(error) }
      }
    }
    if (!this.#socket.destroyed) sendFrame(this.#socket, answer)
  }

  /** @throws ErrnoError EBADF for a handle that this client has not opened. */
  #assertHeld(name: OperationName, parameters: readonly unknown[]): void {
    const held = name === 'readdir' || name === 'releasedir' ? this.#directories : this.#files
    const used =
      name === 'copyFileRange'
        ? parameters.slice(0, 2).map(value => (isObject(value) ? value['fh'] : undefined))
        : WITH_HANDLE.has(name)
          ? [parameters[1]]
          : []
    for (const fh of used) if (!held.has(toFh(Number(fh)))) throw new ErrnoError('EBADF')
  }

  /** Records the client's handles and references after an operation. */
  #note(name: OperationName, parameters: readonly unknown[], result: unknown): void {
    const [ino, fh] = [toIno(Number(parameters[0])), toFh(Number(parameters[1]))]
    if (name === 'open') this.#files.set((result as OpenFile).fh, ino)
    else if (name === 'opendir') this.#directories.set(toFh(Number(result)), ino)
    else if (name === 'release') this.#files.delete(fh)
    else if (name === 'releasedir') this.#directories.delete(fh)
    else if (name === 'create' || name === 'createUnnamed') {
      const { entry, file } = result as { readonly entry: Entry; readonly file: OpenFile }
      this.#refer(entry.attributes.ino, 1)
      this.#files.set(file.fh, entry.attributes.ino)
    } else if (REFERRING.has(name)) this.#refer((result as Entry).attributes.ino, 1)
  }

  #refer(ino: Ino, count: number): void {
    const sum = (this.#references.get(ino) ?? 0) + count
    if (sum > 0) this.#references.set(ino, sum)
    else this.#references.delete(ino)
  }

  /** Limits a forget to the references that the client has. */
  #forget(number: unknown, count: unknown): void {
    const ino = toIno(Number(number))
    const held = this.#references.get(ino) ?? 0
    const given = Math.min(held, uint(count) ? Number(count) : 0)
    if (given === 0) return
    this.#refer(ino, -given)
    this.#operations.forget(ino, given)
  }
}

/** Operations whose second parameter is a handle that this client must have opened. */
const WITH_HANDLE: ReadonlySet<OperationName> = new Set<OperationName>([
  'read',
  'write',
  'append',
  'release',
  'fsync',
  'allocate',
  'seek',
  'readdir',
  'releasedir',
])

/** Operations that return an entry, with a reference to its inode. */
const REFERRING: ReadonlySet<OperationName> = new Set<OperationName>([
  'lookup',
  'symlink',
  'mknod',
  'mkdir',
  'link',
])

/** Operations whose last parameter states whether setuid is kept, which only root may request. */
const CHANGES_DATA: ReadonlySet<OperationName> = new Set<OperationName>([
  'open',
  'create',
  'write',
  'append',
  'allocate',
  'copyFileRange',
])

/** Pieces of a read, copied: they may be memory of the filesystem, which changes while the socket waits. */
const copied = (pieces: readonly Uint8Array[]): readonly Uint8Array[] => [Buffer.concat(pieces)]

const isOperation = (value: unknown): value is OperationName =>
  typeof value === 'string' && Object.hasOwn(PARAMETERS, value)
