/**
 * Encrypts the rows of an index. Their keys, positions and lengths stay legible, so that an index can be searched, checked, packed and copied
 * without the key.
 *
 * | of a row        | is stored as                                                                                           |
 * |-----------------|--------------------------------------------------------------------------------------------------------|
 * | `head`, `tail`  | head: the nonce, the ciphertext of `head`, the tag; tail: the ciphertext of `tail`, which continues it  |
 * | `user`          | empty                                                                                                  |
 * | `description`   | empty                                                                                                  |
 * | `extension`     | sealed (aead.ts): the lengths of user and description (4 bytes each, little-endian), user, description, extension |
 *
 * Authenticated with a revision: the key's id (16), then big-endian `oid` as a float64, `tid` as an int64, `pos` as a float64 (-1 for none), `len` as
 * a uint32, the length of `head` as an int32, and the epoch of `pos` (16, epochs.ts): a row in another place is detected, and one that points to
 * other bytes. With a transaction: the key's id and the tid, as an int64. A tombstone has nothing to encrypt.
 */
import { NO_BYTES } from '../bytes.ts'
import { CorruptRecordError, StoreError } from '../errors.ts'
import type { RevisionRow, TransactionRow } from '../indexed/record-index.ts'
import { damagedTransaction } from '../indexed/row-sums.ts'
import { bytesOf, textOf } from '../os-text.ts'
import { type Aead, newNonce, NONCE_BYTES, openInto, SEAL_BYTES, sealInto, TAG_BYTES } from './aead.ts'
import { EPOCH_BYTES, type Epochs } from './epochs.ts'
import { type DatabaseKeys, KEY_ID_BYTES, LABELS } from './keys.ts'

/** The texts and the extension of a transaction. */
export type TransactionTexts = Pick<TransactionRow, 'tid' | 'user' | 'description' | 'extension'>

/** Turns the rows of an encrypted index into those of a plain one, and back. */
export interface RowSeal {
  /** What sealing adds to the length of a row that is not a tombstone. */
  readonly extraBytes: number

  seal(row: RevisionRow): RevisionRow

  /** @throws CorruptRecordError if the row was not sealed with this key for this place; StoreError `key-needed`. */
  open(row: RevisionRow): RevisionRow

  sealTexts<Row extends TransactionTexts>(row: Row): Row

  /** @throws StoreError if the row was not sealed with this key. Without the key, the texts are empty. */
  openTexts<Row extends TransactionTexts>(row: Row): Row
}

/** The reason that a row is reported with whose checksum is right, but not its seal. */
export const ROW_FORGED = 'its index entry was not encrypted with the key of this database for this place'

const AAD_BYTES = KEY_ID_BYTES + 32 + EPOCH_BYTES
const TEXT_LENGTHS_BYTES = 8
const SALT_SHIFT = 38n

export class KeyedRows implements RowSeal {
  readonly extraBytes = SEAL_BYTES
  readonly #keys: DatabaseKeys
  readonly #epochs: Epochs
  readonly #aad: Buffer
  readonly #salt = Buffer.alloc(8)

  constructor(keys: DatabaseKeys, epochs: Epochs) {
    this.#keys = keys
    this.#epochs = epochs
    this.#aad = Buffer.alloc(AAD_BYTES)
    this.#aad.set(keys.id)
  }

  seal(row: RevisionRow): RevisionRow {
    const { head, tail } = row
    if (head === null) return row
    const tailBytes = tail?.length ?? 0
    const stored = Buffer.allocUnsafeSlow(SEAL_BYTES + head.length + tailBytes)
    const end = NONCE_BYTES + head.length
    const headBytes = end + TAG_BYTES
    const nonce = newNonce()
    stored.set(nonce)
    const plain = tail === null ? head : Buffer.concat([head, tail])
    const sealed = tail === null ? stored.subarray(NONCE_BYTES, end) : Buffer.allocUnsafe(plain.length)
    this.#keyOf(row.tid).encrypt(
      nonce,
      this.#aadOf(row, headBytes),
      plain,
      sealed,
      stored.subarray(end, headBytes),
    )
    if (tail === null) return { ...row, head: stored }
    stored.set(sealed.subarray(0, head.length), NONCE_BYTES)
    stored.set(sealed.subarray(head.length), headBytes)
    return { ...row, head: stored.subarray(0, headBytes), tail: stored.subarray(headBytes) }
  }

  open(row: RevisionRow): RevisionRow {
    const { oid, tid, head, tail } = row
    if (head === null) return row
    const opened = this.#open(row, head, tail) ?? (this.#epochs.refresh() && this.#open(row, head, tail))
    if (!opened) throw new CorruptRecordError(oid, tid, ROW_FORGED)
    return opened
  }

  #open(row: RevisionRow, head: Uint8Array, tail: Uint8Array | null): RevisionRow | undefined {
    const end = head.length - TAG_BYTES
    if (end < NONCE_BYTES) return undefined
    const part = head.subarray(NONCE_BYTES, end)
    const sealed = tail === null ? part : Buffer.concat([part, tail])
    const plain = Buffer.allocUnsafeSlow(sealed.length)
    const isOpen = this.#keyOf(row.tid).decrypt(
      head.subarray(0, NONCE_BYTES),
      this.#aadOf(row, head.length),
      sealed,
      plain,
      head.subarray(end),
    )
    if (!isOpen) return undefined
    if (tail === null) return { ...row, head: plain }
    return { ...row, head: plain.subarray(0, part.length), tail: plain.subarray(part.length) }
  }

  sealTexts<Row extends TransactionTexts>(row: Row): Row {
    const [user, description] = [bytesOf(row.user), bytesOf(row.description)]
    const lengths = Buffer.alloc(TEXT_LENGTHS_BYTES)
    lengths.writeUInt32LE(user.length, 0)
    lengths.writeUInt32LE(description.length, 4)
    const plain = Buffer.concat([lengths, user, description, row.extension])
    const extension = Buffer.alloc(plain.length + SEAL_BYTES)
    sealInto(this.#keyOf(row.tid), this.#textsAad(row.tid), plain, extension)
    return { ...row, user: '', description: '', extension }
  }

  openTexts<Row extends TransactionTexts>(row: Row): Row {
    // A row that a repair has entered again.
    if (row.extension.length === 0) return row
    const plain = Buffer.alloc(Math.max(0, row.extension.length - SEAL_BYTES))
    const isOpen = openInto(this.#keyOf(row.tid), this.#textsAad(row.tid), row.extension, plain)
    if (!isOpen || plain.length < TEXT_LENGTHS_BYTES) throw damagedTransaction(row.tid)
    const userEnd = TEXT_LENGTHS_BYTES + plain.readUInt32LE(0)
    const end = userEnd + plain.readUInt32LE(4)
    const user = textOf(plain.subarray(TEXT_LENGTHS_BYTES, userEnd))
    return { ...row, user, description: textOf(plain.subarray(userEnd, end)), extension: plain.subarray(end) }
  }

  #keyOf(tid: bigint): Aead {
    this.#salt.writeBigUInt64LE(tid >> SALT_SHIFT)
    return this.#keys.subKey(LABELS.row, this.#salt)
  }

  #aadOf({ oid, tid, pos, len }: RevisionRow, headBytes: number): Buffer {
    const aad = this.#aad
    aad.writeDoubleBE(oid, 16)
    aad.writeBigInt64BE(tid, 24)
    aad.writeDoubleBE(pos ?? -1, 32)
    aad.writeUInt32BE(len, 40)
    aad.writeInt32BE(headBytes, 44)
    aad.set(this.#epochs.at(pos), 48)
    return aad
  }

  #textsAad(tid: bigint): Buffer {
    const aad = Buffer.alloc(KEY_ID_BYTES + 8)
    aad.set(this.#keys.id)
    aad.writeBigInt64BE(tid, KEY_ID_BYTES)
    return aad
  }
}

/** The rows of an encrypted database without its key: what is legible can be read, a record cannot. */
export class KeylessRows implements RowSeal {
  readonly extraBytes = SEAL_BYTES
  readonly #name: string

  /** @param name the database's, for messages. */
  constructor(name: string) {
    this.#name = name
  }

  seal(): never {
    throw keyNeeded(this.#name)
  }

  open(row: RevisionRow): RevisionRow {
    if (row.head === null) return row
    throw keyNeeded(this.#name)
  }

  sealTexts(): never {
    throw keyNeeded(this.#name)
  }

  openTexts<Row extends TransactionTexts>(row: Row): Row {
    return { ...row, user: '', description: '', extension: NO_BYTES }
  }
}

/** The error of what cannot be done without the key. */
export const keyNeeded = (name: string): StoreError =>
  new StoreError(`${name} is encrypted, and no key was given`, { code: 'key-needed', path: name })
