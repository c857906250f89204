/**
 * The keys of an encrypted database. A random master key seals nothing itself: what is sealed together has a sub-key,
 *
 *     sub-key = HKDF-SHA-256(master key, salt, label)
 *
 * | sealed                          | label             | salt                                              | messages of a sub-key       |
 * |---------------------------------|-------------------|---------------------------------------------------|-----------------------------|
 * | frames of a segment file        | `zblkfs frame`    | the epoch (16 bytes), the segment's number (4)    | at most 2^16 in an epoch    |
 * | frames of a segment in a bucket | `zblkfs bucket`   | its epoch and counter (8 each)                    | at most 2^16                |
 * | rows of revisions, transactions | `zblkfs row`      | bits 38 to 63 of the tid (8): 64 minutes          | those of 64 minutes         |
 * | units in rows of a server       | `zblkfs extent`   | the position >> 30 (8)                            | those of 2^30 positions     |
 * | entries of the intent log       | `zblkfs intent`   | the entry's random number (8)                     | those of one process        |
 * | a stream                        | `zblkfs stream`   | the stream's salt (16)                            | those of one stream         |
 *
 * Numbers in salts are little-endian. The master key itself is sealed in slots (key-slots.ts).
 */
import { hkdfSync, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { type Aead, KEY_BYTES } from './aead.ts'
import { openAead } from './open-aead.ts'

/** Length of the id of a master key, which authenticated data begins with. */
export const KEY_ID_BYTES = 16

export const LABELS = {
  frame: 'zblkfs frame',
  bucket: 'zblkfs bucket',
  row: 'zblkfs row',
  extent: 'zblkfs extent',
  intent: 'zblkfs intent',
  stream: 'zblkfs stream',
} as const

export type KeyLabel = (typeof LABELS)[keyof typeof LABELS]

/** Sub-keys that are kept ready: a context of the library each, less than a kilobyte. */
const SUB_KEYS_KEPT = 4096

/** A master key as threads pass it on: its memory is shared, not copied. */
export interface MasterKey {
  /** {@link KEY_ID_BYTES} as hex digits: a random name of the key, not secret. */
  readonly id: string
  readonly bytes: SharedArrayBuffer
}

/** A new random master key. */
export function newMasterKey(): MasterKey {
  return masterKeyOf(randomBytes(KEY_ID_BYTES).toString('hex'), randomBytes(KEY_BYTES))
}

/** Moves a key to shared memory; `bytes` are wiped. */
export function masterKeyOf(id: string, bytes: Uint8Array): MasterKey {
  const shared = new SharedArrayBuffer(KEY_BYTES)
  new Uint8Array(shared).set(bytes)
  bytes.fill(0)
  return { id, bytes: shared }
}

/** The sub-keys of a database, in one thread. */
export class DatabaseKeys {
  readonly master: MasterKey
  /** Begins the authenticated data of everything that is sealed. */
  readonly id: Buffer
  readonly #keys = new LRUCache<string, Aead>({ max: SUB_KEYS_KEPT, dispose: aead => aead.close() })
  /** The sub-key that was used last, the most recent one in {@link DatabaseKeys.#keys}. Usually the next use is of the same one. */
  #last: { readonly label: KeyLabel; readonly salt: Buffer; readonly aead: Aead } | undefined

  constructor(master: MasterKey) {
    this.master = master
    this.id = Buffer.from(master.id, 'hex')
  }

  /** The sub-key of a label and salt. Valid until other sub-keys are requested. */
  subKey(label: KeyLabel, salt: Buffer): Aead {
    if (this.#last?.label === label && this.#last.salt.equals(salt)) return this.#last.aead
    const name = `${label} ${salt.toString('latin1')}`
    const aead = this.#keys.get(name) ?? this.#derive(name, label, salt)
    this.#last = { label, salt: Buffer.from(salt), aead }
    return aead
  }

  #derive(name: string, label: KeyLabel, salt: Buffer): Aead {
    const bytes = subKeyBytes(this.master, label, salt)
    const aead = openAead(bytes)
    bytes.fill(0)
    this.#keys.set(name, aead)
    return aead
  }
}

/** The bytes of a sub-key. */
export const subKeyBytes = (master: MasterKey, label: KeyLabel, salt: Uint8Array): Buffer =>
  Buffer.from(hkdfSync('sha256', Buffer.from(new Uint8Array(master.bytes)), salt, label, KEY_BYTES))
