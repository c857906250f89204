/** The answers of the server to the page, as JSON. Times are in milliseconds since 1970, sizes in bytes. */
export type { Intervals } from './transaction-intervals.ts'

export interface Moment {
  /** 16 hex digits. */
  readonly tid: string
  readonly time: number
}

export interface Tag {
  readonly name: string
  readonly tid: string
}

export interface Info extends Moment {
  readonly name: string
  readonly tags: readonly Tag[]
  /** The size of the database on disk. */
  readonly totalBytes: number
  /** Of it, unused. */
  readonly freeBytes: number
  /** The directory at which it is mounted for writing. */
  readonly mount?: string
}

export interface Transaction extends Moment {
  readonly message: string
  /** The first of its changed paths. */
  readonly files: readonly string[]
  readonly fileCount: number
  readonly bytes: number
}

export interface Log {
  readonly transactions: readonly Transaction[]
  readonly isCut: boolean
}

export type FileType = 'file' | 'directory' | 'link' | 'special'

export interface Entry {
  readonly name: string
  readonly type: FileType
  readonly size?: number
  readonly storedBytes?: number
  readonly mtime?: number
}

export interface Listing extends Moment {
  readonly entries: readonly Entry[]
  readonly isCut: boolean
}

/** Blocks `[lo, hi)` of a file; without tid and time if none has data. */
export interface Cell extends Partial<Moment> {
  readonly lo: number
  readonly hi: number
  readonly isSampled: boolean
}

export interface FileDetails extends Moment {
  readonly type: FileType
  readonly mode: number
  readonly size: number
  readonly storedBytes: number
  readonly mtime: number
  readonly blksize: number
  readonly cells: readonly Cell[]
}

export interface Change {
  readonly kind: string
  readonly path: string
  readonly from?: string
  readonly attributes: readonly string[]
  readonly ranges: readonly (readonly [number, number])[]
  readonly rangeCount: number
  readonly sizeBefore?: number
  readonly sizeAfter?: number
}

export interface Differences {
  readonly changes: readonly Change[]
  readonly isCut: boolean
}

export interface FileUsage {
  readonly path: string
  readonly sizeBytes: number
  readonly storedBytes: number
}

export interface Usage {
  /** The largest files. */
  readonly files: readonly FileUsage[]
  readonly count: number
  readonly isCut: boolean
  /** Of all kept revisions of all objects. */
  readonly revisionsBytes: number
}

/** Only the tid if the database is not mounted for writing. */
export interface Live {
  readonly tid: string
  readonly directory?: string
  /** By second, since the call before, or since the mount. */
  readonly rates?: {
    readonly requests: number
    readonly readBytes: number
    readonly writtenBytes: number
    readonly storedBytes: number
  }
  readonly residentBytes?: number
  readonly unstoredBytes?: number
  readonly failure?: string
}

export interface Patch {
  /** As `git diff` prints them, without newlines. */
  readonly lines: readonly string[]
  readonly isCut: boolean
}
