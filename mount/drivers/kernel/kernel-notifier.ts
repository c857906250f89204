/**
 * Telling the kernel to forget.
 *
 * To drop a page the kernel waits for that page's lock, to drop a name for its directory's, and a request that
 * is under way may hold either. So a notification is written by another thread, while this one goes on
 * answering requests. One is under way at a time: however many there are, they take one thread of the pool.
 *
 * fuse_notify_inval_inode_out: u64 ino, i64 off, i64 len. fuse_notify_inval_entry_out: u64 parent, u32 namelen,
 * u32 flags, name, NUL. Each follows a header (see replies.ts) whose error field holds the kind of notification.
 */
import { constants } from 'node:os'
import type { Logger } from 'pino'
import type { Ino, Name, Notifier } from '../../../core/file-system/operations.ts'
import { setU64 } from './abi/fields.ts'
import { NotifyCode } from './abi/opcodes.ts'
import { addressOf, writevElsewhere } from './system-calls.ts'

const { ENOENT, ENODEV, ENOTCONN, ECONNABORTED } = constants.errno
/** The kernel does not know the inode or name, or the mount has ended: there is nothing to forget. */
const HARMLESS: ReadonlySet<number> = new Set([ENOENT, ENODEV, ENOTCONN, ECONNABORTED])

const HEADER_BYTES = 16

export class KernelNotifier implements Notifier {
  readonly #fd: number
  readonly #log: Logger
  /** Address and length of the notification under way: read by the other thread, so it must not be collected. */
  readonly #vector = new BigUint64Array(2)
  #queue: Promise<void> = Promise.resolve()
  #closed = false

  /** @param fd - /dev/fuse; open until {@link KernelNotifier.close} has resolved. */
  constructor(fd: number, log: Logger) {
    this.#fd = fd
    this.#log = log
  }

  invalidateInode(ino: Ino, off: bigint, len: bigint): void {
    const { bytes, view } = notification(NotifyCode.INVAL_INODE, 24)
    setU64(view, HEADER_BYTES, ino)
    view.setBigInt64(HEADER_BYTES + 8, off, true)
    view.setBigInt64(HEADER_BYTES + 16, len, true)
    this.#enqueue(bytes)
  }

  invalidateEntry(parent: Ino, name: Name): void {
    const { bytes, view } = notification(NotifyCode.INVAL_ENTRY, 16 + name.length + 1)
    setU64(view, HEADER_BYTES, parent)
    view.setUint32(HEADER_BYTES + 8, name.length, true)
    bytes.write(name, HEADER_BYTES + 16, 'latin1')
    this.#enqueue(bytes)
  }

  async settled(): Promise<void> {
    await this.#queue
  }

  /** Sends nothing more; resolves when the descriptor is no longer used. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#queue
  }

  #enqueue(bytes: Buffer): void {
    this.#queue = this.#queue.then(() => this.#send(bytes))
  }

  async #send(bytes: Buffer): Promise<void> {
    if (this.#closed) return
    this.#vector[0] = addressOf(bytes)
    this.#vector[1] = BigInt(bytes.length)
    const { result, errno } = await writevElsewhere(this.#fd, addressOf(this.#vector), 1)
    if (result < 0 && !HARMLESS.has(errno))
      this.#log.error({ errno, bytes: bytes.toString('hex') }, 'the kernel refused a notification')
  }
}

function notification(code: number, bodyBytes: number): { readonly bytes: Buffer; readonly view: DataView } {
  const bytes = Buffer.from(new ArrayBuffer(HEADER_BYTES + bodyBytes))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setInt32(4, code, true)
  return { bytes, view }
}
