/** Merges attributes of a file one by one: the branch's change of one is taken if the database did not change that one. */
import { isAcl } from '../file-system/operations/acl.ts'
import { S_ISGID, S_ISUID } from '../file-system/operations/attributes.ts'
import { isRegular, isSymbolicLink, type Inode } from '../tree/inode.ts'

/** The states of a file: at the last merge, now in the branch, and now in the database. */
export interface FileStates {
  readonly before: Inode
  readonly inode: Inode
  readonly present: Inode
}

export interface MergedAttributes {
  /** Those of mode, uid and gid that the database gets. */
  readonly taken: readonly string[]
  /** The extended attributes that the database gets or loses. */
  readonly xattrs: readonly string[]
  /** Why others are not merged. */
  readonly conflicts: readonly string[]
}

export const OWNED = ['mode', 'uid', 'gid'] as const

/** Attributes that do not change during the life of a file, except by a restore. */
const FIXED = ['target', 'rdev'] as const

/** @param changed the names of the attributes that the branch changed. */
export async function mergeAttributes(
  { before, inode, present }: FileStates,
  changed: readonly string[],
): Promise<MergedAttributes> {
  for (const each of [before, inode, present]) await each.activate()
  const taken: string[] = []
  const conflicts: string[] = []
  for (const name of OWNED) {
    if (!changed.includes(name) || present[name] === inode[name]) continue
    if (present[name] === before[name]) taken.push(name)
    else conflicts.push(`both changed its ${name}`)
  }
  for (const name of FIXED)
    if (changed.includes(name)) conflicts.push(`the branch changed its ${name}: change it by hand`)
  const xattrs: string[] = []
  for (const name of changed.includes('xattrs') ? differingXattrs(before, inode) : []) {
    const [was, made, is] = [before, inode, present].map(each => each.xattrs.get(name))
    if (isSameValue(made, is)) continue
    if (!isMergeable(present, name)) conflicts.push(byHand(name))
    else if (isSameValue(was, is)) xattrs.push(name)
    else conflicts.push(`both changed its attribute ${name}`)
  }
  return { taken, xattrs, conflicts }
}

/** The extended attributes that a new file gets, and why it does not get others. */
export async function attributesToMake(inode: Inode): Promise<Omit<MergedAttributes, 'taken'>> {
  await inode.activate()
  const names = [...inode.xattrs.keys()]
  const isMade = (name: string): boolean => isMergeable(inode, name)
  return {
    xattrs: names.filter(isMade),
    conflicts: names.filter(name => !isMade(name)).map(byHand),
  }
}

/** Mode bits of a file that runs with other rights. */
export const PRIVILEGES = S_ISUID | S_ISGID
export const CAPABILITIES = 'security.capability'

/**
 * Whether a file would have privileges (setuid, setgid, capabilities) of one side with bytes or an owner of the other. Each side grants
 * privileges only to the file as it has it.
 * @param isWritten whether the branch's bytes are taken. @param hasOtherBytes whether the database has changed the bytes.
 */
export async function mixesPrivileges(
  { before, inode, present }: FileStates,
  { taken, xattrs }: Pick<MergedAttributes, 'taken' | 'xattrs'>,
  isWritten: boolean,
  hasOtherBytes: () => Promise<boolean>,
): Promise<boolean> {
  if (!isRegular(present)) return false
  const mode = taken.includes('mode') ? inode.mode : present.mode
  const hasCapabilities = present.xattrs.has(CAPABILITIES) || xattrs.includes(CAPABILITIES)
  if ((mode & PRIVILEGES) === 0 && !hasCapabilities) return false
  if (taken.length === 0 && !isWritten && !xattrs.includes(CAPABILITIES)) return false
  return OWNED.some(name => present[name] !== before[name]) || (await hasOtherBytes())
}

/**
 * Whether the database gets the branch's mtime: if it did not change its own, or if its own is earlier and its bytes change. Otherwise
 * it keeps the time of its own change.
 */
export async function takesMtime(
  { before, inode, present }: FileStates,
  isWritten: boolean,
): Promise<boolean> {
  for (const each of [before, inode, present]) await each.activate()
  const [was, made, is] = [before, inode, present].map(each => each.time('mtime'))
  if (was === undefined || made === undefined || is === undefined || made === is) return false
  return is === was || (isWritten && made > is)
}

/** The extended attributes that two states of a file do not have in common. */
export function differingXattrs(one: Inode, other: Inode): readonly string[] {
  const [first, second] = [one.xattrs, other.xattrs]
  return [...new Set([...first.keys(), ...second.keys()])].filter(
    name => !isSameValue(first.get(name), second.get(name)),
  )
}

const byHand = (name: string): string => `the branch changed its attribute ${name}: set it by hand`

/** A mount without ACLs refuses them, and the attributes of a symbolic link are not reached by its path. */
const isMergeable = (inode: Inode, name: string): boolean => !isAcl(name) && !isSymbolicLink(inode)

function isSameValue(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0
}
