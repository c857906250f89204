/**
 * An inode: everything about a file, directory or link except its name, in a PersistentMapping.
 *
 * | key                              | value                                                       |
 * |----------------------------------|-------------------------------------------------------------|
 * | mode uid gid nlink size rdev     | int; `mode` as st_mode, with the type bits. Packed in the    |
 * | atime mtime ctime birthtime      | record (core/objects/packed-attributes.ts), like the times:  |
 * |                                  | int, nanoseconds since 1970                                  |
 * | stored                           | int: stored bytes of the file's data, for st_blocks          |
 * | target                           | bytes: the target of a symbolic link                         |
 * | xattrs                           | dict of bytes to bytes; absent if there are none          |
 * | data                             | a regular file's, once it has been written: ref ZBigFile, or |
 * |                                  | the bytes themselves, without trailing zeros                 |
 * | entries                          | ref OOBTree: a directory's                                   |
 * | parent, name                     | ref inode, bytes: the directory and name that it was last    |
 * |                                  | given; absent if that name was removed                       |
 *
 * A directory's `parent` is always correct. Otherwise `parent` and `name` are hints that name changed inodes without a
 * search: an inode may have lost or gained other names, so a hint is compared with the directory's entries.
 */
import { constants } from 'node:fs'
import { CorruptRecordError } from '../../store/errors.ts'
import type { Oid } from '../../store/ids.ts'
import type { Connection } from '../objects/connection.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { ByteString, Ref, type PickleValue } from '../objects/pickle/value.ts'
import { NO_BYTES } from '../../store/bytes.ts'
import { TYPES } from './inode-type.ts'

/** The attributes of a new inode; every other number is 0. */
export interface NewInode {
  /** File type and permission bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly nlink: number
  readonly rdev?: number
  /** All four times. */
  readonly timeNs: bigint
  /** For an inode that is created again after a crash: the oid that it had. */
  readonly oid?: Oid | undefined
}

/** The data of a file: an object, or bytes in the inode. */
export type FileData = Ref | Uint8Array | undefined

/**
 * Maximum length of inline data. Each change of the inode stores it again, and two records of this length fill a page of the index.
 */
export const INLINE_BYTES_MAX = 1536

/** The longest target of a symbolic link. */
export const TARGET_MAX_BYTES = 4095
/** Linux's limits for an extended attribute. */
export const XATTR_NAME_MAX_BYTES = 255
export const XATTR_VALUE_MAX_BYTES = 65_536

/** The largest value of each number; the smallest is 0, but for times. */
const MAX = {
  mode: 0xffff,
  uid: 0xffff_ffff,
  gid: 0xffff_ffff,
  nlink: 0xffff_ffff,
  rdev: 0xffff_ffff,
  stored: Number.MAX_SAFE_INTEGER,
} as const
const SIZE_MAX = (1n << 63n) - 1n
/** Seconds of a time have 64 bits. */
const TIME_MAX_NS = (1n << 63n) * 1_000_000_000n

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK } = constants
const MENDED_MODE = S_IFREG | 0o600

const TIME_KEYS = ['atime', 'mtime', 'ctime', 'birthtime'] as const

export type TimeKey = (typeof TIME_KEYS)[number]

/** The type in an inode's mode. */
export const typeOf = ({ mode }: Pick<Inode, 'mode'>): number => mode & S_IFMT
export const isDirectory = (inode: Pick<Inode, 'mode'>): boolean => typeOf(inode) === S_IFDIR
export const isRegular = (inode: Pick<Inode, 'mode'>): boolean => typeOf(inode) === S_IFREG
export const isSymbolicLink = (inode: Pick<Inode, 'mode'>): boolean => typeOf(inode) === S_IFLNK

/** A typed view of an inode's mapping. Everything but `oid`, `ref` and `activate` needs it activated. */
export class Inode {
  readonly #mapping: PersistentMapping

  private constructor(mapping: PersistentMapping) {
    this.#mapping = mapping
  }

  /** The inode with an oid, possibly a ghost. @throws CorruptRecordError if that object is not an inode. */
  static at(connection: Connection, oid: Oid): Inode {
    const object = connection.get(oid, PersistentMapping.CLASS_NAME)
    if (!(object instanceof PersistentMapping)) throw connection.corrupt(oid, 'an inode is not a mapping')
    return new Inode(object)
  }

  /** A new inode with a new oid. @throws ReadOnlyError. */
  static async create(
    connection: Connection,
    { mode, uid, gid, nlink, rdev = 0, timeNs, oid }: NewInode,
  ): Promise<Inode> {
    const mapping =
      oid === undefined
        ? await connection.create(PersistentMapping)
        : await connection.createAs(oid, PersistentMapping)
    mapping.set('mode', mode)
    mapping.set('uid', uid)
    mapping.set('gid', gid)
    mapping.set('nlink', nlink)
    mapping.set('size', 0)
    mapping.set('rdev', rdev)
    mapping.set('stored', 0)
    for (const key of TIME_KEYS) mapping.set(key, timeNs)
    return new Inode(mapping)
  }

  get oid(): Oid {
    return this.#mapping.oid
  }

  get ref(): Ref {
    return this.#mapping.ref
  }

  /** The object that contains it. */
  get object(): PersistentMapping {
    return this.#mapping
  }

  /** Loads it; it can be used until the next turn of the event loop. Undefined if it is loaded. */
  activate(): Promise<void> | undefined {
    return this.#mapping.activate()
  }

  get mode(): number {
    return this.#number('mode')
  }
  set mode(value: number) {
    this.#mapping.set('mode', value)
  }

  /** The mode, if it is of a type that Linux knows. */
  get knownMode(): number {
    const { mode } = this
    if (!TYPES.has(mode & S_IFMT)) throw this.#mapping.corrupt(`an inode's type is ${mode & S_IFMT}`)
    return mode
  }

  get uid(): number {
    return this.#number('uid')
  }
  set uid(value: number) {
    this.#mapping.set('uid', value)
  }

  get gid(): number {
    return this.#number('gid')
  }
  set gid(value: number) {
    this.#mapping.set('gid', value)
  }

  get nlink(): number {
    return this.#number('nlink')
  }
  set nlink(value: number) {
    this.#mapping.set('nlink', value)
  }

  get rdev(): number {
    return this.#number('rdev')
  }

  /** In bytes. */
  get size(): bigint {
    return this.#big('size', 0n, SIZE_MAX)
  }
  set size(value: bigint) {
    this.#mapping.set('size', shortest(value))
  }

  /** In bytes. */
  get stored(): number {
    return this.#number('stored')
  }
  set stored(value: number) {
    this.#mapping.set('stored', value)
  }

  /** In nanoseconds since 1970. */
  time(key: TimeKey): bigint {
    return this.#big(key, -TIME_MAX_NS, TIME_MAX_NS)
  }

  setTime(key: TimeKey, valueNs: bigint): void {
    this.#mapping.set(key, shortest(valueNs))
  }

  /** The target of a symbolic link; empty for other inodes. */
  get target(): Uint8Array {
    const target = bytesOf(this.#mapping.get('target')) ?? NO_BYTES
    if (target.length > TARGET_MAX_BYTES)
      throw this.#mapping.corrupt(`a symbolic link's target has ${target.length} bytes`)
    return target
  }
  set target(value: Uint8Array) {
    this.#mapping.set('target', ByteString.from(value))
  }

  /** The object with its data; undefined if there is none, or the data is inline. */
  get data(): Ref | undefined {
    const value = this.#mapping.get('data')
    return isBytes(value) ? undefined : this.#ref('data')
  }
  set data(value: Ref) {
    this.#mapping.set('data', value)
  }

  /** Its data, if the inode contains it: the file's first bytes; the others are zeros. */
  get inlineData(): Uint8Array | undefined {
    return bytesOf(this.#mapping.get('data'))
  }

  get fileData(): FileData {
    return this.inlineData ?? this.data
  }

  /** Replaces its data; undefined removes it. Inline data must not end with a zero. */
  replaceData(value: FileData): void {
    if (value === undefined) this.#mapping.delete('data')
    else this.#mapping.set('data', value instanceof Ref ? value : ByteString.from(value))
  }

  get entries(): Ref | undefined {
    return this.#ref('entries')
  }
  set entries(value: Ref) {
    this.#mapping.set('entries', value)
  }

  /** The inode of its directory, for a file that of its last name; the root's is the root. */
  get parent(): Ref | undefined {
    return this.#ref('parent')
  }
  set parent(value: Ref) {
    this.#mapping.set('parent', value)
  }

  /** The name that it was last given, one character per byte. */
  get name(): string | undefined {
    const value = this.#mapping.get('name')
    return value instanceof ByteString ? value.latin1 : undefined
  }

  /** Records a name that it is given. */
  named(parent: Ref, name: string): void {
    this.#mapping.set('parent', parent)
    this.#mapping.set('name', new ByteString(name))
  }

  /** Removes the recorded name if it is this one. */
  unnamed(parent: Oid, name: string): void {
    if (this.name !== name || this.parent?.oid !== parent) return
    this.#mapping.delete('name')
    if (this.entries === undefined) this.#mapping.delete('parent')
  }

  /** Extended attributes by name, one character per byte. */
  get xattrs(): ReadonlyMap<string, Uint8Array> {
    const stored = this.#mapping.get('xattrs')
    const xattrs = new Map<string, Uint8Array>()
    if (!(stored instanceof Map)) return xattrs
    for (const [key, value] of stored) {
      const bytes = bytesOf(value)
      if (!(key instanceof ByteString) || bytes === undefined)
        throw this.#mapping.corrupt('an extended attribute is not bytes')
      if (key.latin1.length > XATTR_NAME_MAX_BYTES || bytes.length > XATTR_VALUE_MAX_BYTES)
        throw this.#mapping.corrupt('an extended attribute is longer than Linux allows')
      xattrs.set(key.latin1, bytes)
    }
    return xattrs
  }
  set xattrs(values: ReadonlyMap<string, Uint8Array>) {
    if (values.size === 0) this.#mapping.delete('xattrs')
    else {
      const stored = new Map<PickleValue, PickleValue>()
      for (const [name, value] of values) stored.set(ByteString.key(name), ByteString.from(value))
      this.#mapping.set('xattrs', stored)
    }
  }

  /**
   * Memory that a change of this inode takes until it is stored, besides what any inode takes. Even a change of one bit holds
   * inline data, the target and all extended attributes, in the object and again in its record.
   */
  get recordExtraBytes(): number {
    let bytes = lengthOf(this.#mapping.get('data')) + lengthOf(this.#mapping.get('target'))
    const xattrs = this.#mapping.get('xattrs')
    if (xattrs instanceof Map) for (const [key, value] of xattrs) bytes += lengthOf(key) + lengthOf(value)
    return 2 * bytes
  }

  get hasXattrs(): boolean {
    return this.#mapping.has('xattrs')
  }

  /**
   * Sets every number that no inode can have to 0, removes attributes that it cannot have, and shortens a target that is too
   * long. Returns what it changed, in words. For repairs: nothing else can write such an inode.
   */
  mend(): readonly string[] {
    const mended: string[] = []
    const unless = (key: string, read: () => unknown, repair: () => void): void => {
      try {
        read()
      } catch (error) {
        if (!(error instanceof CorruptRecordError)) throw error
        mended.push(key)
        repair()
      }
    }
    unless(
      'mode',
      () => this.knownMode,
      () => (this.mode = MENDED_MODE),
    )
    for (const key of ['uid', 'gid', 'nlink', 'rdev', 'stored', 'size'] as const)
      unless(
        key,
        () => this[key],
        () => this.#mapping.set(key, 0),
      )
    for (const key of TIME_KEYS)
      unless(
        key,
        () => this.time(key),
        () => this.#mapping.set(key, 0),
      )
    unless(
      'xattrs',
      () => this.xattrs,
      () => this.#mapping.delete('xattrs'),
    )
    unless(
      'target',
      () => this.target,
      () => {
        const target = bytesOf(this.#mapping.get('target')) ?? NO_BYTES
        this.target = target.subarray(0, TARGET_MAX_BYTES)
      },
    )
    return mended
  }

  #number(key: keyof typeof MAX): number {
    const value = this.#mapping.get(key)
    if (typeof value === 'number' && value >= 0 && value <= MAX[key]) return value
    throw this.#mapping.corrupt(`an inode's ${key} is ${describe(value)}`)
  }

  #big(key: string, min: bigint, max: bigint): bigint {
    const value = this.#mapping.get(key)
    const big = typeof value === 'number' ? BigInt(value) : value
    if (typeof big === 'bigint' && big >= min && big <= max) return big
    throw this.#mapping.corrupt(`an inode's ${key} is ${describe(value)}`)
  }

  #ref(key: string): Ref | undefined {
    const value = this.#mapping.get(key)
    if (value === undefined || value instanceof Ref) return value
    throw this.#mapping.corrupt(`an inode's ${key} is not a reference`)
  }
}

/** An integer in the form read from records: a number if it is a safe integer. */
function shortest(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

/** The length of bytes, without copying them. */
function lengthOf(value: PickleValue | undefined): number {
  if (value instanceof ByteString) return value.latin1.length
  return value instanceof Uint8Array ? value.length : 0
}

const isBytes = (value: PickleValue | undefined): boolean =>
  value instanceof ByteString || value instanceof Uint8Array

function bytesOf(value: PickleValue | undefined): Uint8Array | undefined {
  if (value instanceof ByteString) return value.bytes
  return value instanceof Uint8Array ? value : undefined
}

/** A value that cannot stand for a number of an inode. */
const describe = (value: PickleValue | undefined): string =>
  typeof value === 'number' || typeof value === 'bigint' ? 'out of range' : 'not an integer'
