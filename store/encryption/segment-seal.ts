/**
 * Encrypts the frames of segments in a bucket (store/s3/segment.ts), after they are compressed, and the units in rows of a server
 * (store/postgres/postgres-bulk.ts).
 *
 * | of a             | is stored as                                                       | authenticated with                                                      | salt of the sub-key        |
 * |------------------|--------------------------------------------------------------------|-------------------------------------------------------------------------|----------------------------|
 * | frame            | the XXH64 of the rest (8), then the frame, sealed (aead.ts)        | the key's id, epoch and counter (8 each), bytes 0 to 7 of its entry     | epoch and counter (8 each) |
 * | unit in a row    | the ciphertext; its nonce and tag follow its checksum              | the key's id, its position (8)                                          | the position >> 30 (8)     |
 *
 * Numbers are little-endian. No key of a segment is used twice, so an older frame was sealed with another sub-key.
 */
import { xxh64 } from '../checksum.ts'
import { type Aead, newNonce, NONCE_BYTES, openInto, SEAL_BYTES, sealInto, TAG_BYTES } from './aead.ts'
import { type DatabaseKeys, KEY_ID_BYTES, LABELS } from './keys.ts'

const SUM_BYTES = 8
const SALT_POSITIONS = 2 ** 30

/** What sealing adds to the length of a frame. */
export const SEGMENT_SEAL_BYTES = SUM_BYTES + SEAL_BYTES

/** The nonce and the tag of a unit in a row. */
export const UNIT_SEAL_BYTES = NONCE_BYTES + TAG_BYTES

export interface SegmentOpener {
  /** Whether the key is missing: checksums can be verified, and bytes are taken for zeros. */
  readonly isKeyless: boolean

  /** The frame of a segment; undefined if it was not sealed for this place. @param entry bytes 0 to 7 of its entry in the table. */
  openFrame(epoch: number, counter: number, entry: Uint8Array, stored: Buffer): Buffer | undefined

  /** Decrypts a unit in place; false if it was not sealed for this position. @param seal its nonce and tag. */
  openUnit(pos: number, unit: Uint8Array, seal: Uint8Array): boolean
}

export class SegmentSeal implements SegmentOpener {
  readonly isKeyless = false
  readonly #keys: DatabaseKeys
  readonly #unit = Buffer.allocUnsafeSlow(4096)

  constructor(keys: DatabaseKeys) {
    this.#keys = keys
  }

  sealFrame(epoch: number, counter: number, entry: Uint8Array, frame: Uint8Array): Buffer {
    const stored = Buffer.allocUnsafeSlow(frame.length + SEGMENT_SEAL_BYTES)
    const ids = idsOf(epoch, counter)
    sealInto(this.#frameKey(ids), this.#aad(ids, entry), frame, stored.subarray(SUM_BYTES))
    stored.writeBigUInt64LE(xxh64(stored.subarray(SUM_BYTES)))
    return stored
  }

  openFrame(epoch: number, counter: number, entry: Uint8Array, stored: Buffer): Buffer | undefined {
    if (stored.length < SEGMENT_SEAL_BYTES) return undefined
    const ids = idsOf(epoch, counter)
    const frame = Buffer.allocUnsafeSlow(stored.length - SEGMENT_SEAL_BYTES)
    const isOpen = openInto(this.#frameKey(ids), this.#aad(ids, entry), stored.subarray(SUM_BYTES), frame)
    return isOpen ? frame : undefined
  }

  /** Encrypts a unit to `into`; writes its nonce and tag to `seal`. */
  sealUnit(pos: number, unit: Uint8Array, into: Uint8Array, seal: Uint8Array): void {
    const nonce = newNonce()
    seal.set(nonce)
    this.#unitKey(pos).encrypt(nonce, this.#unitAad(pos), unit, into, seal.subarray(NONCE_BYTES))
  }

  openUnit(pos: number, unit: Uint8Array, seal: Uint8Array): boolean {
    const plain = this.#unit.subarray(0, unit.length)
    const nonce = seal.subarray(0, NONCE_BYTES)
    const isOpen = this.#unitKey(pos).decrypt(
      nonce,
      this.#unitAad(pos),
      unit,
      plain,
      seal.subarray(NONCE_BYTES),
    )
    if (isOpen) unit.set(plain)
    return isOpen
  }

  #frameKey(ids: Buffer): Aead {
    return this.#keys.subKey(LABELS.bucket, ids)
  }

  #aad(ids: Buffer, entry: Uint8Array): Buffer {
    return Buffer.concat([this.#keys.id, ids, entry])
  }

  #unitKey(pos: number): Aead {
    return this.#keys.subKey(LABELS.extent, u64(Math.floor(pos / SALT_POSITIONS)))
  }

  #unitAad(pos: number): Buffer {
    const aad = Buffer.alloc(KEY_ID_BYTES + 8)
    aad.set(this.#keys.id)
    aad.writeBigUInt64LE(BigInt(pos), KEY_ID_BYTES)
    return aad
  }
}

/** Frames and units of an encrypted database without its key. */
export const KEYLESS_SEGMENTS: SegmentOpener = {
  isKeyless: true,
  openFrame: (_epoch, _counter, _entry, stored) =>
    stored.length >= SEGMENT_SEAL_BYTES && stored.readBigUInt64LE() === xxh64(stored.subarray(SUM_BYTES))
      ? Buffer.alloc(stored.length - SEGMENT_SEAL_BYTES)
      : undefined,
  openUnit: () => true,
}

const idsOf = (epoch: number, counter: number): Buffer => Buffer.concat([u64(epoch), u64(counter)])

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
