/** What fsck has found, in the words that a person gets. */
import { printablePath } from '../printable.ts'
import { formatOid, formatTid, type Oid, type Tid } from '../../store/ids.ts'

export type DamageKind =
  | 'structure' // of the SQLite file
  | 'transaction' // an entry in the list of transactions
  | 'record' // an object's state, or bytes of it
  | 'reference' // one that leads nowhere, or to an object of another class
  | 'superblock' // where the filesystem begins
  | 'inode'
  | 'directory' // its entries, or its place in the tree
  | 'entry' // one name
  | 'file' // its bytes, or the trees that lead to them
  | 'links' // a link count
  | 'lost' // an inode that no directory has
  | 'usage' // the sums that statfs tells

export interface Damage {
  readonly kind: DamageKind
  readonly reason: string
  /** From the root of the filesystem; absent where it is not known, or of no file. */
  readonly path?: string
  /** Which bytes of the file, `[lo, hi)`; absent where it is not about bytes. */
  readonly lo?: bigint
  readonly hi?: bigint
  readonly oid?: Oid
  readonly tid?: Tid
  /** Only states of the past are concerned: what a mount shows now is whole. */
  readonly past?: boolean
  /** What was done about it. */
  readonly repaired?: string
}

/** One line. */
export function describeDamage(damage: Damage): string {
  const { kind, path, lo, hi, oid, tid, reason, past, repaired } = damage
  const where = path === undefined ? kind : printablePath(path)
  const range = lo === undefined || hi === undefined ? '' : ` bytes [${lo}, ${hi})`
  const object = oid === undefined ? '' : `object ${formatOid(oid)}`
  const transaction = tid === undefined ? '' : `transaction ${formatTid(tid)}`
  const names = [object, transaction, past === true ? 'in the past only' : ''].filter(name => name !== '')
  const named = names.length === 0 ? '' : ` (${names.join(', ')})`
  return `${where}${range}: ${reason}${named}${repaired === undefined ? '' : `; repaired: ${repaired}`}`
}
