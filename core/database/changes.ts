/** Transactions and what they changed, as a program receives them. */
import { formatTid } from '../../store/ids.ts'
import type { TransactionInfo } from '../../store/store.ts'
import type { Timeline } from '../../store/timeline.ts'
import type { Difference } from '../history/difference.ts'
import { textOfStored } from '../stored-names.ts'
import type { LoggedTransaction } from '../history/log.ts'
import type { Writer } from '../objects/transaction-summary.ts'

export type { Writer } from '../objects/transaction-summary.ts'

export interface TransactionHead {
  /** 16 hex digits. */
  readonly tid: string
  readonly time: Date
  readonly message: string
  readonly user: string
}

export interface Transaction extends TransactionHead {
  /** The first thousand changed files, directories and links, by path. */
  readonly changes: readonly FileChange[]
  /** Number of all changed files, directories and links. */
  readonly fileCount: number
  /** The processes that made the changes, up to eight; none if they were not recorded. */
  readonly writers: readonly Writer[]
  /** Whether the message was given; otherwise it names changed files. */
  readonly hasMessage: boolean
  readonly objects: number
  /** Total length of its records, in bytes. */
  readonly bytes: number
  /** The changes of text files line by line, as `git diff` prints them: lines without newlines. */
  readonly patch: () => AsyncGenerator<Buffer>
  /** Why its changes cannot be read; there are none then. */
  readonly damage?: Error
}

/** Bytes `[start, end)` of a file. */
export interface Range {
  readonly start: bigint
  readonly end: bigint
}

/** A path that differs between two moments. */
export interface FileChange {
  readonly kind: Difference['kind']
  /** The path in the later moment; for a removed path, in the earlier one. {@link FileChange.pathBytes} has its bytes. */
  readonly path: string
  readonly pathBytes: Uint8Array
  /** The path before a rename. */
  readonly from?: string
  /** st_mode, in the later moment if the path exists there, else in the earlier one. */
  readonly mode: number
  readonly sizeBefore?: bigint
  readonly sizeAfter?: bigint
}

/** A path that differs, with what differs. */
export interface Change extends FileChange {
  /** Which attributes changed: mode, uid, gid, size, rdev, target, xattrs, mtime. */
  readonly attributes: readonly string[]
  /** Changed byte ranges of a file that exists in both moments, in whole chunks of 4 KiB. */
  readonly ranges: readonly Range[]
}

export const asHead = ({ tid, description, user }: TransactionInfo, timeline: Timeline): TransactionHead => ({
  tid: formatTid(tid),
  time: new Date(timeline.timeOf(tid)),
  message: description,
  user,
})

export const asTransaction = (
  { info, changes, fileCount, origin: { writers, hasMessage }, damage }: LoggedTransaction,
  timeline: Timeline,
  patch: Transaction['patch'],
): Transaction => ({
  ...asHead(info, timeline),
  changes: changes.map(asFileChange),
  fileCount,
  writers: writers.map(({ uid, pid, program }) => ({ uid, pid, program })),
  hasMessage,
  objects: info.objects,
  bytes: info.bytes,
  patch,
  ...(damage !== undefined && { damage }),
})

export const asChange = (difference: Difference): Change => ({
  ...asFileChange(difference),
  attributes: difference.attributes,
  ranges: difference.ranges.map(({ lo, hi }) => ({ start: lo, end: hi })),
})

const asFileChange = ({
  kind,
  path,
  from,
  mode,
  sizeBefore,
  sizeAfter,
}: Omit<Difference, 'attributes' | 'ranges'>): FileChange => ({
  kind,
  path: textOfStored(path),
  pathBytes: Buffer.from(path, 'latin1'),
  mode,
  ...(from !== undefined && { from: textOfStored(from) }),
  ...(sizeBefore !== undefined && { sizeBefore }),
  ...(sizeAfter !== undefined && { sizeAfter }),
})
