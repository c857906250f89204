/**
 * Invalidates what the kernel has cached.
 *
 * To drop a page the kernel waits for the lock of that page, to drop a name for that of its directory, and a running request
 * may hold either. So another thread writes the notification, while this one continues to answer requests. One runs at
 * a time, so that they take one thread of the pool; those that direct writes wait for have a queue of their own, of one
 * thread more. Attributes are dropped without such a lock: their notifications do not queue, and a request may wait for them.
 *
 * fuse_notify_inval_inode_out: u64 ino, i64 off, i64 len. fuse_notify_inval_entry_out: u64 parent, u32 namelen,
 * u32 flags, name, NUL. fuse_notify_prune_out: u32 count, u32 and u64 unused, then u64 inos. Each follows a header (see replies.ts)
 * whose error field holds the kind of notification.
 */
import { constants } from 'node:os'
import type { Logger } from 'pino'
import type { Ino, Name, Notifier } from '../../../core/file-system/operations.ts'
import { setU64 } from './abi/fields.ts'
import { NotifyCode } from './abi/opcodes.ts'
import { addressOf, writevElsewhere } from './system-calls.ts'

const { ENOENT, ENODEV, ENOTCONN, ECONNABORTED } = constants.errno
/** The kernel has not cached it, or the mount has ended. */
const HARMLESS: ReadonlySet<number> = new Set([ENOENT, ENODEV, ENOTCONN, ECONNABORTED])

const HEADER_BYTES = 16

export class KernelNotifier implements Notifier {
  /** Whether the kernel may cache that a name does not exist: only if it can invalidate all of them. */
  cachesAbsence = false
  /** Whether the kernel forgets inodes on request. */
  canForget = false
  readonly #fd: number
  readonly #log: Logger
  #queue: Promise<void> = Promise.resolve()
  /** Notifications about pages alone, which requests wait for: apart, because a name's may wait for such a request. */
  #pages: Promise<void> = Promise.resolve()
  /** Notifications that run beside the queues. */
  readonly #unqueued = new Set<Promise<void>>()
  #isForgetting = false
  #closed = false

  /** @param fd /dev/fuse; open until {@link KernelNotifier.close} has resolved. */
  constructor(fd: number, log: Logger) {
    this.#fd = fd
    this.#log = log
  }

  invalidateInode(ino: Ino, off: bigint, len: bigint): void {
    this.#enqueue(inodeNotification(ino, off, len))
  }

  async invalidateAttributes(ino: Ino): Promise<void> {
    const sent = this.#send(inodeNotification(ino, -1n, 0n))
    this.#unqueued.add(sent)
    await sent
    this.#unqueued.delete(sent)
  }

  /**
   * Invalidates cached pages; resolves when that is done. A request may wait for it that holds no lock of its own and no
   * message: the kernel may have to finish reads and writes of these pages first.
   */
  async invalidatePages(ino: Ino, off: bigint, len: bigint): Promise<void> {
    this.#pages = this.#pages.then(() => this.#send(inodeNotification(ino, off, len)))
    await this.#pages
  }

  invalidateEntry(parent: Ino, name: Name): void {
    const { bytes, view } = notification(NotifyCode.INVAL_ENTRY, 16 + name.length + 1)
    setU64(view, HEADER_BYTES, parent)
    view.setUint32(HEADER_BYTES + 8, name.length, true)
    bytes.write(name, HEADER_BYTES + 16, 'latin1')
    this.#enqueue(bytes)
  }

  get invalidatesNames(): boolean {
    return this.cachesAbsence
  }

  /** Takes no lock, so it need not wait for others. */
  invalidateNames(): void {
    if (!this.cachesAbsence) return
    const sent = this.#send(notification(NotifyCode.INC_EPOCH, 0).bytes)
    this.#queue = this.#queue.then(() => sent)
  }

  /** One request runs at a time. Others are dropped: their inodes are requested again when they have become the oldest once more. */
  forgetUnused(inos: readonly Ino[]): void {
    if (!this.canForget || this.#isForgetting || inos.length === 0) return
    const { bytes, view } = notification(NotifyCode.PRUNE, 16 + 8 * inos.length)
    view.setUint32(HEADER_BYTES, inos.length, true)
    for (const [index, ino] of inos.entries()) setU64(view, HEADER_BYTES + 16 + 8 * index, ino)
    this.#isForgetting = true
    const sent = this.#send(bytes)
    this.#unqueued.add(sent)
    void sent.then(() => {
      this.#unqueued.delete(sent)
      this.#isForgetting = false
    })
  }

  async settled(): Promise<void> {
    await this.#queue
  }

  /** Sends nothing more; resolves when the descriptor is no longer used. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#queue
    await this.#pages
    await Promise.all(this.#unqueued)
  }

  #enqueue(bytes: Buffer): void {
    this.#queue = this.#queue.then(() => this.#send(bytes))
  }

  async #send(bytes: Buffer): Promise<void> {
    if (this.#closed) return
    const vector = new BigUint64Array([addressOf(bytes), BigInt(bytes.length)])
    const { result, errno } = await writevElsewhere(this.#fd, addressOf(vector), 1)
    // The other thread has read both: until here they must not be collected.
    vector.fill(0n)
    if (result < 0 && !HARMLESS.has(errno))
      this.#log.error({ errno, bytes: bytes.toString('hex') }, 'the kernel rejected a notification')
  }
}

function inodeNotification(ino: Ino, off: bigint, len: bigint): Buffer {
  const { bytes, view } = notification(NotifyCode.INVAL_INODE, 24)
  setU64(view, HEADER_BYTES, ino)
  view.setBigInt64(HEADER_BYTES + 8, off, true)
  view.setBigInt64(HEADER_BYTES + 16, len, true)
  return bytes
}

function notification(code: number, bodyBytes: number): { readonly bytes: Buffer; readonly view: DataView } {
  const bytes = Buffer.from(new ArrayBuffer(HEADER_BYTES + bodyBytes))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setInt32(4, code, true)
  return { bytes, view }
}
