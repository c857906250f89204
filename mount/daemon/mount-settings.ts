import type { ShownOwnership } from '../../core/file-system/show-as.ts'
import type { Retention } from '../../store/retention.ts'

/** Everything that one mount is told: what the command's options become. Paths are absolute, and canonical. */
export interface MountSettings {
  readonly database: string
  readonly directory: string
  readonly driver: DriverChoice
  readonly readOnly: boolean
  /** The moment that is mounted, as a person wrote it; absent: the present. */
  readonly at?: string
  readonly zblkFormat: ZblkFormat
  readonly cacheSizeBytes?: number
  readonly dirtySizeBytes?: number
  readonly commitIntervalMs?: number
  /** Reads change no access times. */
  readonly ignoresAccess?: boolean
  /** How long history is kept from now on; recorded in the database. Absent: as recorded there. */
  readonly history?: Retention
  readonly allowOther: boolean
  readonly suid: boolean
  readonly dev: boolean
  readonly noExec: boolean
  readonly nonEmpty: boolean
  /** What the mount is listed by; absent: the database's path. */
  readonly fsname?: string
  readonly shown: ShownOwnership
}

export const DRIVERS = ['auto', 'kernel', 'fuse-native'] as const
export type DriverChoice = (typeof DRIVERS)[number]

export const ZBLK_FORMATS = ['auto', 'zblk0', 'zblk1'] as const
export type ZblkFormat = (typeof ZBLK_FORMATS)[number]
