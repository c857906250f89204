/** Results of stat(2) and readdir(3), with the methods of node:fs. */
import { constants } from 'node:fs'
import { textOf } from '../../store/os-text.ts'
import type { Attributes } from '../file-system/operations.ts'

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFBLK, S_IFCHR } = constants
const NS_PER_MS = 1_000_000n

/** A file's type, by the S_IFMT bits of its mode. */
abstract class Typed {
  /** Its S_IFMT bits are those of st_mode. */
  protected abstract readonly type: number

  isFile(): boolean {
    return (this.type & S_IFMT) === S_IFREG
  }

  isDirectory(): boolean {
    return (this.type & S_IFMT) === S_IFDIR
  }

  isSymbolicLink(): boolean {
    return (this.type & S_IFMT) === S_IFLNK
  }

  isFIFO(): boolean {
    return (this.type & S_IFMT) === S_IFIFO
  }

  isSocket(): boolean {
    return (this.type & S_IFMT) === S_IFSOCK
  }

  isBlockDevice(): boolean {
    return (this.type & S_IFMT) === S_IFBLK
  }

  isCharacterDevice(): boolean {
    return (this.type & S_IFMT) === S_IFCHR
  }
}

/** The attributes of a file. Sizes are in bytes, `blocks` in units of 512 bytes, times in milliseconds since 1970. */
export class Stats extends Typed {
  readonly ino: number
  /** Type and permission bits, as st_mode. */
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  /** Rounded beyond 2^53; {@link Stats.sizeExact} is not. */
  readonly size: number
  readonly sizeExact: bigint
  readonly blksize: number
  /** Allocated space. */
  readonly blocks: number
  readonly atimeMs: number
  readonly mtimeMs: number
  readonly ctimeMs: number
  readonly birthtimeMs: number
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly birthtimeNs: bigint

  constructor(attributes: Attributes) {
    super()
    this.ino = attributes.ino
    this.mode = attributes.mode
    this.nlink = attributes.nlink
    this.uid = attributes.uid
    this.gid = attributes.gid
    this.rdev = attributes.rdev
    this.size = Number(attributes.size)
    this.sizeExact = attributes.size
    this.blksize = attributes.blksize
    this.blocks = attributes.blocks
    this.atimeNs = attributes.atimeNs
    this.mtimeNs = attributes.mtimeNs
    this.ctimeNs = attributes.ctimeNs
    this.birthtimeNs = attributes.birthtimeNs
    this.atimeMs = milliseconds(attributes.atimeNs)
    this.mtimeMs = milliseconds(attributes.mtimeNs)
    this.ctimeMs = milliseconds(attributes.ctimeNs)
    this.birthtimeMs = milliseconds(attributes.birthtimeNs)
  }

  get atime(): Date {
    return new Date(this.atimeMs)
  }

  get mtime(): Date {
    return new Date(this.mtimeMs)
  }

  get ctime(): Date {
    return new Date(this.ctimeMs)
  }

  get birthtime(): Date {
    return new Date(this.birthtimeMs)
  }

  protected get type(): number {
    return this.mode
  }
}

/** An entry of a directory. */
export class Dirent extends Typed {
  /** As text that gives the same bytes back in a path, also where they are not UTF-8. */
  readonly name: string
  readonly nameBytes: Uint8Array
  /** The directory, as the caller gave it. */
  readonly parentPath: string
  protected readonly type: number

  constructor(nameBytes: Uint8Array, parentPath: string, type: number) {
    super()
    this.name = textOf(nameBytes)
    this.nameBytes = nameBytes
    this.parentPath = parentPath
    this.type = type
  }
}

const milliseconds = (ns: bigint): number => Number(ns / NS_PER_MS)
