/**
 * Messages sealed with AES-256-GCM (open-aead.ts):
 *
 * | length             | is                      |
 * |--------------------|-------------------------|
 * | {@link NONCE_BYTES} | random, a nonce         |
 * | any                | the ciphertext          |
 * | {@link TAG_BYTES}   | the authentication tag  |
 *
 * Nonces are random, so nothing depends on a counter that a crash, a copied file or a restored machine could set back. A key (keys.ts) seals
 * far less than the 2^32 messages that random nonces allow.
 */
import { randomFillSync } from 'node:crypto'

export const KEY_BYTES = 32
export const NONCE_BYTES = 12
export const TAG_BYTES = 16

/** What sealing adds to the length of a message. */
export const SEAL_BYTES = NONCE_BYTES + TAG_BYTES

/** Seals and opens messages with one key. Not reentrant. */
export interface Aead {
  /**
   * Encrypts `plain` to `into`, of the same length, and writes the tag.
   * @param nonce {@link NONCE_BYTES}. @param aad is authenticated, but not stored.
   */
  encrypt(nonce: Uint8Array, aad: Uint8Array, plain: Uint8Array, into: Uint8Array, tag: Uint8Array): void

  /** Decrypts `sealed` to `into`, of the same length; false, with `into` undefined, if anything differs from what was sealed. */
  decrypt(nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, into: Uint8Array, tag: Uint8Array): boolean

  /** Frees the key's memory. */
  close(): void
}

const POOL_NONCES = 512
const pool = Buffer.alloc(POOL_NONCES * NONCE_BYTES)
let used = pool.length

/** A new random nonce; its memory is valid until the next call. */
export function newNonce(): Uint8Array {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const nonce = pool.subarray(used, used + NONCE_BYTES)
  used += NONCE_BYTES
  return nonce
}

/** Seals `plain` to the start of `into`, which has room for {@link SEAL_BYTES} more; returns the length. */
export function sealInto(aead: Aead, aad: Uint8Array, plain: Uint8Array, into: Uint8Array): number {
  const end = NONCE_BYTES + plain.length
  const nonce = newNonce()
  into.set(nonce)
  aead.encrypt(nonce, aad, plain, into.subarray(NONCE_BYTES, end), into.subarray(end, end + TAG_BYTES))
  return end + TAG_BYTES
}

/** Opens a sealed message to `into`, which has its length less {@link SEAL_BYTES}; false if it differs from what was sealed. */
export function openInto(aead: Aead, aad: Uint8Array, sealed: Uint8Array, into: Uint8Array): boolean {
  const end = sealed.length - TAG_BYTES
  if (end < NONCE_BYTES || into.length !== end - NONCE_BYTES) return false
  return aead.decrypt(
    sealed.subarray(0, NONCE_BYTES),
    aad,
    sealed.subarray(NONCE_BYTES, end),
    into,
    sealed.subarray(end),
  )
}
