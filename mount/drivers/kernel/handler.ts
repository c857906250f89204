/** What a handler of requests is, and what it uses. */
import type { Operations } from '../../../core/file-system/operations.ts'
import type { Message, RequestHeader } from './abi/message.ts'
import type { DirectWrites } from './direct-writes.ts'
import type { KernelNotifier } from './kernel-notifier.ts'
import type { ListingHabits } from './listing-habits.ts'
import type { ReadBuffers } from './read-buffers.ts'
import type { Replies } from './replies.ts'

/** Everything that handlers use. */
export interface HandlerContext {
  readonly operations: Operations
  readonly replies: Replies
  readonly notifier: KernelNotifier
  readonly directWrites: DirectWrites
  readonly readBuffers: ReadBuffers
  readonly habits: ListingHabits
  readonly session: SessionRequests
  /** The length of fuse_setxattr_in, as agreed at INIT. */
  readonly setxattrBytes: 8 | 16
  /** Whether the umask is not applied to the modes of requests. */
  readonly sendsUmask: boolean
  /** Allows the message of a WRITE to be used again before the handler has ended. */
  readonly recycle: (message: Message) => void
}

/** Requests about the session itself. */
export interface SessionRequests {
  init(request: RequestHeader, message: Message): void
  /** A lookup found no name. */
  absent(request: RequestHeader): void
  /** Returns a signal that is aborted when the caller of the request gets a signal. */
  whileWaiting(request: RequestHeader): AbortSignal
  /** The caller of the request `unique` got a signal. */
  interrupt(unique: number): void
}

/** Returns a promise if the operation may take time; then an INTERRUPT may find it running. */
export type Handler = (
  request: RequestHeader,
  message: Message,
  context: HandlerContext,
) => Promise<void> | void
