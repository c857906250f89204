/** Where workloads run. Everything lies on the disk of the benchmark's directory. */
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
/** What zblkfs is to be ahead of. */
export const PEERS = ['bindfs', 'fuse2fs', 'qemu', 's3backer'] as const satisfies readonly PlaceName[]

export interface Place {
  readonly name: PlaceName
  /** Absent where a single file is served. */
  readonly directory?: string
  /** The file that is written and read; of the no-op filesystem these are two. */
  readonly written: string
  readonly read: string
  /** Where it is zblkfs. */
  readonly zblkfs?: MountedZblkfs
  close(): Promise<void>
}

/** What can be done with a mount of zblkfs besides using its files. */
export interface MountedZblkfs {
  readonly database: string
  readonly directory: string
  /** The serving process; another one after each `mount`. */
  pid(): number
  mount(): Promise<void>
  unmount(): Promise<void>
  /** Stores everything; resolves to the transaction, 16 hex digits. */
  sync(): Promise<string>
  /** Drops history from before a moment, and gives the room back. */
  pack(before: string): Promise<void>
}
