/** The places in which workloads run, all on the disk of the benchmark's directory. */
export const PLACES = [
  'auto',
  'zblk1',
  'fuse-native',
  'no-op',
  'no-op native',
  'host',
  'bindfs',
  'fuse2fs',
  'qemu',
  's3backer',
] as const
export type PlaceName = (typeof PLACES)[number]

/** Mounts of zblkfs: block format and driver by default, every block a tree of chunks, the other driver. */
export const OURS = ['auto', 'zblk1', 'fuse-native'] as const satisfies readonly PlaceName[]
/** Filesystems that zblkfs should outperform. */
export const PEERS = ['bindfs', 'fuse2fs', 'qemu', 's3backer'] as const satisfies readonly PlaceName[]

export interface Place {
  readonly name: PlaceName
  /** Absent if the place serves a single file. */
  readonly directory?: string
  /** The file to write and to read; two files for the no-op filesystem. */
  readonly written: string
  readonly read: string
  /** Present for a mount of zblkfs. */
  readonly zblkfs?: MountedZblkfs
  close(): Promise<void>
}

/** Operations on a mount of zblkfs besides using its files. */
export interface MountedZblkfs {
  readonly database: string
  readonly directory: string
  /** The serving process; changes with each `mount`. */
  pid(): number
  mount(): Promise<void>
  unmount(): Promise<void>
  /** Stores everything; resolves to the transaction, 16 hex digits. */
  sync(): Promise<string>
  /** Drops history from before a moment and frees its space. */
  pack(before: string): Promise<void>
}
