/** The findings of fsck, and their text. */
import { printable, printablePath } from '../printable.ts'
import { formatOid, formatTid, type Oid, type Tid } from '../../store/ids.ts'

export type DamageKind =
  | 'structure' // of the SQLite file
  | 'transaction' // an entry in the list of transactions
  | 'record' // an object's state, or bytes of it
  | 'reference' // to nothing, or to an object of another class
  | 'superblock' // or the root mapping that leads to it
  | 'inode'
  | 'directory' // its entries, or its place in the tree
  | 'entry' // one name
  | 'file' // its bytes, or the trees that lead to them
  | 'links' // a link count
  | 'lost' // an inode that no directory contains
  | 'usage' // the totals that statfs reports

export interface Damage {
  readonly kind: DamageKind
  readonly reason: string
  /** From the root of the filesystem; absent if unknown, or if no file is affected. */
  readonly path?: string
  /** Bytes `[lo, hi)` of the file; absent if no bytes are affected. */
  readonly lo?: bigint
  readonly hi?: bigint
  readonly oid?: Oid
  readonly tid?: Tid
  /** Whether only past states are affected: the present tree is intact. */
  readonly past?: boolean
  /** What the repair does about it; takes effect when the repair ends without an error. */
  readonly repaired?: string
}

/** Describes a damage in one line. */
export function describeDamage(damage: Damage): string {
  const { kind, path, lo, hi, oid, tid, reason, past, repaired } = damage
  const where = path === undefined ? kind : printablePath(shortened(path))
  const range = lo === undefined || hi === undefined ? '' : ` bytes [${lo}, ${hi})`
  const object = oid === undefined ? '' : `object ${formatOid(oid)}`
  const transaction = tid === undefined ? '' : `transaction ${formatTid(tid)}`
  const names = [object, transaction, past === true ? 'in the past only' : ''].filter(name => name !== '')
  const named = names.length === 0 ? '' : ` (${names.join(', ')})`
  return `${where}${range}: ${printable(reason)}${named}${repaired === undefined ? '' : `; repair: ${repaired}`}`
}

/** Maximum length of a path that is printed whole. */
const PATH_MAX = 1024
const ENDS = 400

const shortened = (path: string): string =>
  path.length <= PATH_MAX
    ? path
    : `${path.slice(0, ENDS)}[${path.length - 2 * ENDS} bytes]${path.slice(-ENDS)}`
