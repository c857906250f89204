/**
 * POSIX ACLs, as Linux passes them: the values of `system.posix_acl_access` and `system.posix_acl_default`. The kernel checks
 * access by them (FUSE_POSIX_ACL); the filesystem keeps them and the mode consistent, and lets new files inherit them.
 *
 * | at | length | is                                                                       |
 * |----|--------|--------------------------------------------------------------------------|
 * | 0  | 4      | the version, 2                                                           |
 * | 4  | 8 each | u16 tag, u16 permissions (r 4, w 2, x 1), u32 id of the user or group    |
 *
 * Of the mode, the owner's bits are USER_OBJ's, others' are OTHER's, and the group's are MASK's if there is one, else GROUP_OBJ's.
 * An access ACL of these three entries alone says what the mode says, and is not kept. Source: linux/posix_acl_xattr.h, acl(5).
 */
import type { Inode } from '../../tree/inode.ts'
import { ErrnoError } from '../errno.ts'

export const ACCESS_ACL = 'system.posix_acl_access'
export const DEFAULT_ACL = 'system.posix_acl_default'

const VERSION = 2
const HEADER_BYTES = 4
const ENTRY_BYTES = 8
const Tag = { USER_OBJ: 0x01, USER: 0x02, GROUP_OBJ: 0x04, GROUP: 0x08, MASK: 0x10, OTHER: 0x20 } as const
const TAGS: ReadonlySet<number> = new Set(Object.values(Tag))
const RWX = 7
const ACCESS_BITS = 0o777

interface AclEntry {
  readonly tag: number
  readonly permissions: number
  readonly id: number
}

/** An ACL, and the mode that a file with it has. */
export interface AclAndMode {
  /** Undefined if the mode says it all. */
  readonly acl: Uint8Array | undefined
  readonly mode: number
}

export const isAcl = (name: string): boolean => name === ACCESS_ACL || name === DEFAULT_ACL

/** What setting an access ACL makes of a file of this mode. @throws ErrnoError EINVAL */
export function applyAccessAcl(value: Uint8Array, mode: number): AclAndMode {
  const entries = decode(value)
  return { acl: isMinimal(entries) ? undefined : value, mode: (mode & ~ACCESS_BITS) | modeOf(entries) }
}

/** @throws ErrnoError EINVAL */
export function checkAcl(value: Uint8Array): void {
  decode(value)
}

/** The access ACL of a file after its mode was changed. @throws ErrnoError EINVAL */
const chmodAcl = (value: Uint8Array, mode: number): Uint8Array =>
  encode(withMode(decode(value), () => mode & ACCESS_BITS))

/** What a new file gets from the default ACL of its directory: of the requested mode, no more than the ACL allows. */
export function inheritAcl(defaultAcl: Uint8Array, mode: number): AclAndMode {
  const entries = withMode(decode(defaultAcl), allowed => allowed & mode)
  return {
    acl: isMinimal(entries) ? undefined : encode(entries),
    mode: (mode & ~ACCESS_BITS) | modeOf(entries),
  }
}

/** Changes the access ACL of an inode whose mode was changed. */
export function followMode(inode: Inode): void {
  if (!inode.hasXattrs) return
  const acl = inode.xattrs.get(ACCESS_ACL)
  if (acl !== undefined) inode.xattrs = new Map(inode.xattrs).set(ACCESS_ACL, chmodAcl(acl, inode.mode))
}

function decode(value: Uint8Array): readonly AclEntry[] {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const length = value.length - HEADER_BYTES
  if (length < 0 || length % ENTRY_BYTES !== 0 || view.getUint32(0, true) !== VERSION) throw invalid()
  const entries: AclEntry[] = []
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    const [tag, permissions] = [view.getUint16(at, true), view.getUint16(at + 2, true)]
    if (!TAGS.has(tag) || permissions > RWX) throw invalid()
    entries.push({ tag, permissions, id: view.getUint32(at + 4, true) })
  }
  for (const tag of [Tag.USER_OBJ, Tag.GROUP_OBJ, Tag.OTHER])
    if (entries.filter(entry => entry.tag === tag).length !== 1) throw invalid()
  if (!isMinimal(entries) && entries.filter(({ tag }) => tag === Tag.MASK).length !== 1) throw invalid()
  return entries
}

const invalid = (): ErrnoError => new ErrnoError('EINVAL', 'not a POSIX ACL')

function encode(entries: readonly AclEntry[]): Uint8Array {
  const value = Buffer.alloc(HEADER_BYTES + entries.length * ENTRY_BYTES)
  value.writeUInt32LE(VERSION)
  for (const [index, { tag, permissions, id }] of entries.entries()) {
    const at = HEADER_BYTES + index * ENTRY_BYTES
    value.writeUInt16LE(tag, at)
    value.writeUInt16LE(permissions, at + 2)
    value.writeUInt32LE(id, at + 4)
  }
  return value
}

/** The entry that the group's bits of the mode stand for. */
const groupTag = (entries: readonly AclEntry[]): number =>
  entries.some(({ tag }) => tag === Tag.MASK) ? Tag.MASK : Tag.GROUP_OBJ

const isMinimal = (entries: readonly AclEntry[]): boolean =>
  entries.every(({ tag }) => tag === Tag.USER_OBJ || tag === Tag.GROUP_OBJ || tag === Tag.OTHER)

/** The shift of each entry that the mode has, in the mode. */
const shifts = (entries: readonly AclEntry[]): ReadonlyMap<number, number> =>
  new Map([
    [Tag.USER_OBJ, 6],
    [groupTag(entries), 3],
    [Tag.OTHER, 0],
  ])

function modeOf(entries: readonly AclEntry[]): number {
  const at = shifts(entries)
  let mode = 0
  for (const { tag, permissions } of entries) {
    const shift = at.get(tag)
    if (shift !== undefined) mode |= permissions << shift
  }
  return mode
}

/** The entries with those of the mode changed by a function of the mode that they have. */
function withMode(entries: readonly AclEntry[], change: (mode: number) => number): readonly AclEntry[] {
  const mode = change(modeOf(entries))
  const at = shifts(entries)
  return entries.map(entry => {
    const shift = at.get(entry.tag)
    return shift === undefined ? entry : { ...entry, permissions: (mode >> shift) & RWX }
  })
}
