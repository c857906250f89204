/** What calls to the daemon of a mount return (control-protocol.ts). */
import type { LeaseState, UnstoredPath } from '../../core/file-system/served-file-system.ts'
import type { PackResult } from '../../core/pack/pack.ts'
import type { ConnectionState, PackProgress } from '../../store/capabilities.ts'
import type { WireError } from '../../store/errors.ts'
import type { Problem } from './problems.ts'

/** The status of a mount. */
export interface MountStatus {
  readonly pid: number
  readonly database: string
  readonly directory: string
  readonly driver: string
  readonly readOnly: boolean
  /** When it was mounted, ISO 8601. */
  readonly since: string
  /** The last transaction, 16 hex digits. */
  readonly tid: string
  readonly residentBytes: number
  /** Bytes of changes that are in memory alone. */
  readonly unstoredBytes: number
  /** Why the last attempt to store them failed; absent if it did not. */
  readonly failure?: string
  /** Whether the disk of the database has no room for data. */
  readonly isFull: boolean
  /** How long history is kept (store/retention.ts); absent for a database of ZODB's. */
  readonly history?: string
  /** A jump of the machine's clock, in words, if there was one in the last days. */
  readonly clock?: string
  /** Whether the database's server answers; absent for a database in a file. */
  readonly connection?: ConnectionState
  /** Whether this mount has the right to write, of a database that several mounts write in turns. */
  readonly lease?: LeaseState
  /** The last entry of the log that is an error; the last warning if there was no error. */
  readonly problem?: Problem
}

/** The state of a requested pack. */
export type PackStatus =
  | { readonly state: 'none' }
  | { readonly state: 'running'; readonly progress?: PackProgress }
  | { readonly state: 'done'; readonly report: PackResult }
  | { readonly state: 'failed'; readonly error: WireError }

/** An {@link UnstoredPath} whose paths are base64. */
export interface EncodedPath {
  readonly kind: UnstoredPath['kind']
  readonly path: string
  readonly from?: string
}
