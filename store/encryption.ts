/** How a database is encrypted, and where its key comes from: what callers of a store say about both. */
import type { MasterKey } from './encryption/keys.ts'

/** The values of `encryption=`. */
export const ENCRYPTIONS = ['off', 'aes-256-gcm'] as const
export type EncryptionName = (typeof ENCRYPTIONS)[number]

/** Where a secret comes from, which says how it is strengthened. */
export type SecretKind = 'passphrase' | 'file' | 'command'

export interface Secret {
  readonly kind: SecretKind
  readonly bytes: Uint8Array
}

/** What a database asks for when it is opened. */
export interface KeyQuestion {
  /** Its name, for a prompt. */
  readonly path: string
  /** Whether it is being made, so that a passphrase is asked for twice. */
  readonly isNew: boolean
}

/** Undefined if there is no secret. */
export type KeySource = (question: KeyQuestion) => Promise<Secret | undefined>

/** The keys of a database, for another one that is to have the same. */
export interface KeyCopy {
  /** Its slots, as the database stores them. */
  readonly note: string
  readonly master: MasterKey
}

/** The options of opening and making a database that are about its encryption. */
export interface EncryptionOptions {
  /** How a new database is encrypted. Refused if the database is there, and otherwise. */
  readonly encryption?: EncryptionName | undefined
  /** Where the key comes from; by default where setKeySource (database-key.ts) says. */
  readonly key?: KeySource | undefined
  /** The keys of a new database, instead of new ones. */
  readonly keys?: KeyCopy | undefined
  /** Opens with what this resolves to, instead of the database's own slots: a branch has the keys of its database. */
  readonly keysOf?: (() => Promise<MasterKey | 'keyless' | undefined>) | undefined
  /** Whether an encrypted database is opened for reading even if no key is given: what is legible can be checked and measured. */
  readonly mayLackKey?: boolean
}

/** A passphrase or key that opens an encrypted database. */
export interface SlotInfo {
  readonly name: string
  /** How its key is derived. */
  readonly kdf: string
}

/** The keys of an encrypted database. Changes rewrite no data. */
export interface Encrypting {
  /** False if the database was opened without its key: no record can be read. */
  readonly hasKey: boolean

  slots(): Promise<readonly SlotInfo[]>

  /** @throws StoreError `key-needed` */
  copy(): Promise<KeyCopy>

  /** @throws StoreError `usage` if there is a slot of this name already. */
  addSlot(name: string, secret: Secret): Promise<void>

  /** @throws StoreError `usage` if there is no such slot. */
  changeSlot(name: string, secret: Secret): Promise<void>

  /** @throws StoreError `usage` if there is no such slot, or no other one. */
  removeSlot(name: string): Promise<void>
}
