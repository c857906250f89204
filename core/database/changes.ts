/** Transactions and what they changed, as a program receives them. */
import { formatTid, timeFromTid } from '../../store/ids.ts'
import type { TransactionInfo } from '../../store/store.ts'
import type { Difference } from '../history/difference.ts'
import { textOfStored } from '../stored-names.ts'
import type { LoggedTransaction } from '../history/log.ts'

export interface TransactionHead {
  /** 16 hex digits. */
  readonly tid: string
  readonly time: Date
  readonly message: string
  readonly user: string
}

export interface Transaction extends TransactionHead {
  /** The first thousand paths of changed files, directories and links. */
  readonly files: readonly string[]
  /** Number of all changed paths. */
  readonly fileCount: number
  readonly objects: number
  /** Total length of its records, in bytes. */
  readonly bytes: number
}

/** Bytes `[start, end)` of a file. */
export interface Range {
  readonly start: bigint
  readonly end: bigint
}

/** One path that differs between two moments. */
export interface Change {
  readonly kind: Difference['kind']
  /** The path in the later moment; for a removed path, in the earlier one. {@link Change.pathBytes} has its bytes. */
  readonly path: string
  readonly pathBytes: Uint8Array
  /** The path before a rename. */
  readonly from?: string
  /** st_mode, in the later moment if the path exists there, else in the earlier one. */
  readonly mode: number
  readonly sizeBefore?: bigint
  readonly sizeAfter?: bigint
  /** Which attributes changed: mode, uid, gid, size, rdev, target, xattrs, mtime. */
  readonly attributes: readonly string[]
  /** Changed byte ranges of a file that exists in both moments, in whole chunks of 4 KiB. */
  readonly ranges: readonly Range[]
}

export const asHead = ({ tid, description, user }: TransactionInfo): TransactionHead => ({
  tid: formatTid(tid),
  time: new Date(timeFromTid(tid)),
  message: description,
  user,
})

export const asTransaction = ({ info, files, fileCount }: LoggedTransaction): Transaction => ({
  ...asHead(info),
  files: files.map(textOfStored),
  fileCount,
  objects: info.objects,
  bytes: info.bytes,
})

export const asChange = ({ path, from, ranges, ...rest }: Difference): Change => ({
  ...rest,
  path: textOfStored(path),
  pathBytes: Buffer.from(path, 'latin1'),
  ...(from !== undefined && { from: textOfStored(from) }),
  ranges: ranges.map(({ lo, hi }) => ({ start: lo, end: hi })),
})
