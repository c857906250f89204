/** How a database gets its key when it is opened or made. */
import type { EncryptionName, EncryptionOptions, KeyCopy, KeySource, Secret } from './encryption.ts'
import {
  formatKeySlots,
  type KeySlots,
  openSlots,
  parseKeySlots,
  sealSlot,
  secretName,
} from './encryption/key-slots.ts'
import { type MasterKey, newMasterKey } from './encryption/keys.ts'
import { forbidDumps } from './memory-dumps.ts'
import type { Access } from './encryption/seals.ts'
import { CannotOpenError } from './errors.ts'

let commonSource: KeySource | undefined
/** The keys that each caching source has unlocked, by id. They last as long as the source. */
const unlockedBy = new WeakMap<KeySource, Map<string, MasterKey>>()

/** A source that calls `source` once for each master key, however often a database is opened with it. The absence of a key is cached too. */
export function rememberingSource(source: KeySource): KeySource {
  if (unlockedBy.has(source)) return source
  const lacking = new Set<string>()
  const remembering: KeySource = async question => {
    if (!question.isNew && lacking.has(question.path)) return undefined
    const secret = await source(question)
    if (secret === undefined) lacking.add(question.path)
    return secret
  }
  unlockedBy.set(remembering, new Map())
  return remembering
}

/** Sets the source of keys for all databases that this process opens without one of their own. Only the command line does. */
export function setKeySource(source: KeySource | undefined): void {
  commonSource = source && rememberingSource(source)
}

/** The source that a caller names, else the common one. */
export const sourceOr = (source: KeySource | undefined): KeySource | undefined => source ?? commonSource

/** A new master key, and the note with its slot. @throws CannotOpenError if no secret is given; StoreError if it must not be used. */
export async function makeKeys(
  path: string,
  { key = commonSource, keys }: EncryptionOptions,
): Promise<KeyCopy> {
  if (keys !== undefined) return keys
  if (key !== undefined) forbidDumps()
  const secret = await key?.({ path, isNew: true })
  if (secret === undefined)
    throw new CannotOpenError(`${path} cannot be encrypted: no passphrase and no key was given`, {
      code: 'key-needed',
      path,
    })
  const master = newMasterKey()
  const slot = await sealSlot(secretName(secret.kind), secret, master)
  if (key !== undefined) unlockedBy.get(key)?.set(master.id, master)
  return { master, note: formatKeySlots({ cipher: 'aes-256-gcm', id: master.id, slots: [slot] }) }
}

/** As {@link accessOf}, for writing. */
export async function keyOf(
  path: string,
  note: string | undefined,
  options: EncryptionOptions,
): Promise<MasterKey | undefined> {
  const access = await accessOf(path, note, { ...options, mayLackKey: false })
  return access === 'keyless' ? undefined : access
}

/**
 * How a database is to be opened for reading. @param note of its keys; undefined if it is not encrypted.
 * @throws CannotOpenError `key-needed`, `wrong-key`, `fixed-option`; StoreError if the note is damaged.
 */
export async function accessOf(
  path: string,
  note: string | undefined,
  { encryption, key = commonSource, mayLackKey = false, keysOf }: EncryptionOptions,
): Promise<Access> {
  const present: EncryptionName = note === undefined ? 'off' : 'aes-256-gcm'
  if (encryption !== undefined && encryption !== present)
    throw new CannotOpenError(
      `${path} is ${note === undefined ? 'not encrypted' : 'encrypted'}, which cannot be changed`,
      { code: 'fixed-option', path },
    )
  if (note === undefined) return undefined
  const slots = parseKeySlots(note)
  if (keysOf !== undefined) return assertSame(path, slots, await keysOf())
  if (slots.slots.length === 0)
    throw new CannotOpenError(
      `${path} is a branch, and its database, which has its keys, is missing: put it back beside the database`,
    )
  const known = key && unlockedBy.get(key)?.get(slots.id)
  if (known !== undefined) return known
  if (key !== undefined) forbidDumps()
  const secret = await key?.({ path, isNew: false })
  if (secret === undefined) {
    if (mayLackKey) return 'keyless'
    throw new CannotOpenError(`${path} is encrypted, and no key was given`, { code: 'key-needed', path })
  }
  const master = await masterKeyFor(path, slots, secret)
  if (key !== undefined) unlockedBy.get(key)?.set(slots.id, master)
  return master
}

/** @throws CannotOpenError if the master key of another database does not open this one. */
function assertSame(path: string, slots: KeySlots, access: Access): Access {
  if (access === 'keyless' || access?.id === slots.id) return access
  throw new CannotOpenError(`${path} is a branch of another database: the one beside it has other keys`)
}

/** The master key in a database's slots. @throws CannotOpenError `wrong-key` */
export async function masterKeyFor(path: string, slots: KeySlots, secret: Secret): Promise<MasterKey> {
  const opened = await openSlots(slots, secret)
  if (opened !== undefined) return opened.master
  throw new CannotOpenError(`${path} cannot be opened with this ${secretName(secret.kind)}`, {
    code: 'wrong-key',
    path,
  })
}
