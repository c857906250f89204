/**
 * The slots in which a database keeps its master key, each sealed by another secret: a passphrase, a key file, or the output of a
 * command. They are a note of the database, JSON:
 *
 *     { "cipher": "aes-256-gcm", "id": KEY-ID, "slots": [{ "name", "kdf": "scrypt", "log2n", "r", "p", "salt", "key" }, ...] }
 *
 * `key` is the master key sealed (aead.ts) with the key that `kdf` derives from the secret and the salt; authenticated with the text
 * `zblkfs key ` and the key's id. `kdf` is `scrypt`, or `hkdf-sha256` for the random bytes of a key file, with the label
 * `zblkfs key file`. Changing a secret changes this note alone. A branch has no slots: those of its database open it.
 */
import { hkdfSync, randomBytes, scrypt } from 'node:crypto'
import type { Secret, SecretKind } from '../encryption.ts'
import { StoreError } from '../errors.ts'
import { KEY_BYTES, openInto, SEAL_BYTES, sealInto } from './aead.ts'
import { openAead } from './open-aead.ts'
import { KEY_ID_BYTES, masterKeyOf, type MasterKey } from './keys.ts'

/** The name of the note. A database without it is not encrypted. */
export const ENCRYPTION = 'encryption'

/** A key file is taken as random, without a slow derivation: a short one may be a word. */
export const KEY_FILE_BYTES_MIN = 32
export const KEY_FILE_BYTES_MAX = 1 << 20
export const SLOTS_MAX = 16

const SALT_BYTES = 16
const FILE_LABEL = 'zblkfs key file'
/** 128 MiB of memory and a third of a second. */
const LOG2N = 17
/** Maximum cost that a note may set: a damaged or forged one must not exhaust the memory. */
const LOG2N_MAX = 20

/** A slot as the note has it. */
export interface KeySlot {
  readonly name: string
  readonly kdf: 'scrypt' | 'hkdf-sha256'
  readonly log2n?: number
  readonly r?: number
  readonly p?: number
  readonly salt: string
  readonly key: string
}

export interface KeySlots {
  readonly cipher: 'aes-256-gcm'
  readonly id: string
  readonly slots: readonly KeySlot[]
}

/** @throws StoreError if the note is damaged or of a later version. */
export function parseKeySlots(note: string): KeySlots {
  try {
    const { cipher, id, slots } = JSON.parse(note) as Partial<KeySlots>
    if (cipher === 'aes-256-gcm' && isHex(id, KEY_ID_BYTES) && Array.isArray(slots))
      return { cipher, id: id as string, slots: (slots as readonly KeySlot[]).slice(0, SLOTS_MAX) }
  } catch {
    // Reported below.
  }
  throw new StoreError('the note of its keys is damaged: put it back from a backup of the database', {
    code: 'damaged',
  })
}

export const formatKeySlots = ({ cipher, id, slots }: KeySlots): string =>
  JSON.stringify({ cipher, id, slots })

const isHex = (value: unknown, bytes: number): boolean =>
  typeof value === 'string' && value.length === 2 * bytes && /^[0-9a-f]*$/.test(value)

/** @throws StoreError if a secret must not be used. */
export function assertSecret({ kind, bytes }: Secret): void {
  if (bytes.length === 0) throw new StoreError(`the ${secretName(kind)} is empty`, { code: 'usage' })
  if (kind === 'file' && bytes.length < KEY_FILE_BYTES_MIN)
    throw new StoreError(
      `the key file has ${bytes.length} bytes: it needs ${KEY_FILE_BYTES_MIN} random ones or more (head -c 32 /dev/urandom)`,
      { code: 'usage' },
    )
  if (bytes.length > KEY_FILE_BYTES_MAX)
    throw new StoreError(`the ${secretName(kind)} is longer than 1 MiB`, { code: 'usage' })
}

export const secretName = (kind: SecretKind): string =>
  ({ passphrase: 'passphrase', file: 'key file', command: 'output of the key command' })[kind]

/** Seals the master key with a secret. */
export async function sealSlot(name: string, secret: Secret, master: MasterKey): Promise<KeySlot> {
  assertSecret(secret)
  const salt = randomBytes(SALT_BYTES).toString('hex')
  const empty: KeySlot =
    secret.kind === 'file'
      ? { name, kdf: 'hkdf-sha256', salt, key: '' }
      : { name, kdf: 'scrypt', log2n: LOG2N, r: 8, p: 1, salt, key: '' }
  const wrapping = await wrappingKey(empty, secret.bytes)
  const sealed = Buffer.alloc(KEY_BYTES + SEAL_BYTES)
  const aead = openAead(wrapping)
  const plain = Buffer.from(new Uint8Array(master.bytes))
  sealInto(aead, aadOf(master.id), plain, sealed)
  aead.close()
  plain.fill(0)
  wrapping.fill(0)
  return { ...empty, key: sealed.toString('hex') }
}

/** The master key, and the slot that the secret opens; undefined if it opens none. */
export async function openSlots(
  { id, slots }: KeySlots,
  { bytes }: Pick<Secret, 'bytes'>,
): Promise<{ readonly master: MasterKey; readonly slot: KeySlot } | undefined> {
  // Those that cost nothing first.
  for (const slot of slots.toSorted((a, b) => Number(a.kdf === 'scrypt') - Number(b.kdf === 'scrypt'))) {
    if (!isUsable(slot)) continue
    const wrapping = await wrappingKey(slot, bytes)
    const aead = openAead(wrapping)
    const key = Buffer.alloc(KEY_BYTES)
    const isOpen = openInto(aead, aadOf(id), Buffer.from(slot.key, 'hex'), key)
    aead.close()
    wrapping.fill(0)
    if (isOpen) return { master: masterKeyOf(id, key), slot }
  }
  return undefined
}

/** Whether a slot has the form that this version writes, within its limits. */
function isUsable({ kdf, log2n = 0, r = 0, p = 0, salt, key }: KeySlot): boolean {
  if (typeof salt !== 'string' || !isHex(key, KEY_BYTES + SEAL_BYTES)) return false
  if (kdf === 'hkdf-sha256') return true
  return kdf === 'scrypt' && log2n >= 1 && log2n <= LOG2N_MAX && r >= 1 && r <= 32 && p >= 1 && p <= 16
}

const aadOf = (id: string): Buffer => Buffer.from(`zblkfs key ${id}`)

function wrappingKey({ kdf, log2n = 0, r = 0, p = 0, salt }: KeySlot, secret: Uint8Array): Promise<Buffer> {
  const saltBytes = Buffer.from(salt, 'hex')
  if (kdf === 'hkdf-sha256')
    return Promise.resolve(Buffer.from(hkdfSync('sha256', secret, saltBytes, FILE_LABEL, KEY_BYTES)))
  const cost = { N: 2 ** log2n, r, p, maxmem: 256 * r * 2 ** log2n + (1 << 20) }
  return new Promise((resolve, reject) => {
    scrypt(secret, saltBytes, KEY_BYTES, cost, (error, key) => {
      if (error === null) resolve(key)
      else reject(error)
    })
  })
}
