/**
 * Encrypts the bytes of the intent log's entries (store/sqlite/intents/entries.ts), each sealed (aead.ts) and authenticated with the key's id
 * and the entry's header from offset 8 on. The salt of the sub-key is the entry's random number.
 */
import { openInto, SEAL_BYTES, sealInto } from './aead.ts'
import { DatabaseKeys, LABELS, type MasterKey } from './keys.ts'

export interface IntentSeal {
  /** What sealing adds to the length of an entry. */
  readonly extraBytes: number

  /** Seals `bytes` to `into`. @param header of the entry, from offset 8 on. */
  seal(nonce: bigint, header: Uint8Array, bytes: Uint8Array, into: Uint8Array): void

  /** Undefined if the bytes were not sealed with this header. */
  open(nonce: bigint, header: Uint8Array, bytes: Uint8Array): Uint8Array | undefined
}

/** Undefined for a database that is not encrypted. */
export function intentSealOf(master: MasterKey | undefined): IntentSeal | undefined {
  if (master === undefined) return undefined
  const keys = new DatabaseKeys(master)
  const salt = Buffer.alloc(8)
  const saltOf = (nonce: bigint): Buffer => {
    salt.writeBigUInt64LE(nonce)
    return salt
  }
  const aadOf = (header: Uint8Array): Buffer => Buffer.concat([keys.id, header])
  return {
    extraBytes: SEAL_BYTES,
    seal: (nonce, header, bytes, into) =>
      void sealInto(keys.subKey(LABELS.intent, saltOf(nonce)), aadOf(header), bytes, into),
    open(nonce, header, bytes) {
      const plain = Buffer.allocUnsafeSlow(Math.max(0, bytes.length - SEAL_BYTES))
      const isOpen = openInto(keys.subKey(LABELS.intent, saltOf(nonce)), aadOf(header), bytes, plain)
      return isOpen ? plain : undefined
    },
  }
}
