import type { LayoutName } from '../../core/foreign/file-system/layouts.ts'
import type { ShownOwnership } from '../../core/file-system/show-as.ts'
import type { CompressionName } from '../../store/compression.ts'
import type { EncryptionName } from '../../store/encryption.ts'
import type { Retention } from '../../store/retention.ts'
import { type ZBlkFormat } from '../../core/objects/zblk-format.ts'

/** All settings of one mount, made from the command's options. Paths are absolute and canonical. */
export interface MountSettings {
  readonly database: string
  /** The name of the branch that `database` is. */
  readonly branch?: string
  readonly directory: string
  readonly driver: DriverChoice
  readonly readOnly: boolean
  /** The moment to mount, in the notation of store/moments.ts; by default the present. */
  readonly at?: string
  readonly zblkFormat: ZBlkFormat
  readonly cacheSizeBytes?: number
  readonly dirtySizeBytes?: number
  readonly commitIntervalMs?: number
  /** The S3 URL of the place for the bulk bytes of a new database on a server. */
  readonly bulk?: string
  /** The directory of the cache of bulk bytes; by default in the user's cache directory. */
  readonly cacheDirectory?: string
  /** Maximum length of this cache on the disk; 0: no cache. */
  readonly cacheDiskBytes?: number
  /** How an external ZODB database is shown. */
  readonly layout?: LayoutName
  /** What open shows of other mounts that write a database on a server: all that was done before, or what is stored. By default the first. */
  readonly fresh?: Freshness
  /** Where flock and fcntl locks of a database on a server hold: on this machine, or among all mounts. By default the first. */
  readonly locks?: LockScope
  /** Reads do not change access times. */
  readonly ignoresAccess?: boolean
  /** How long history is kept from now on, recorded in the database; by default as recorded there. */
  readonly history?: Retention
  /** How new data is stored from now on, recorded in the database; by default as recorded there. */
  readonly compression?: CompressionName
  /** How a new database is encrypted. */
  readonly encryption?: EncryptionName
  /** Where the key comes from: a path, or a command; never the key itself. */
  readonly key?: { readonly keyFile?: string; readonly keyCommand?: string }
  /** POSIX ACLs are stored, inherited, and checked by the kernel. */
  readonly acl?: boolean
  readonly allowOther: boolean
  readonly suid: boolean
  readonly dev: boolean
  readonly noExec: boolean
  readonly nonEmpty: boolean
  /** The name shown in the list of mounts; by default the database's path. */
  readonly fsname?: string
  readonly shown: ShownOwnership
  /** Where metrics are published; nowhere if absent. */
  readonly metrics?: MetricsPlace
}

export const FRESHNESS = ['open', 'lag'] as const
export type Freshness = (typeof FRESHNESS)[number]

export const LOCK_SCOPES = ['local', 'global'] as const
export type LockScope = (typeof LOCK_SCOPES)[number]

/** An address of this machine where Prometheus collects metrics, or the absolute path of a file for node_exporter. */
export type MetricsPlace =
  | { readonly kind: 'address'; readonly host: string; readonly port: number }
  | { readonly kind: 'file'; readonly path: string }

export const DRIVERS = ['auto', 'kernel', 'fuse-native'] as const
export type DriverChoice = (typeof DRIVERS)[number]
