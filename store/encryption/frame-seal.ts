/**
 * Encrypts the bodies of frames (store/indexed/frame-codec.ts): those of compressed frames as a whole, others in parts of {@link PART_BYTES}, so
 * that a short read need not decrypt the whole frame. Sealed bytes (aead.ts) are authenticated with the key's id (16 bytes) and the frame's
 * header from offset 8 on: its position (for a part, that of the part), method, number of units and length.
 */
import { SEGMENT_BYTES } from '../segment-files/log-layout.ts'
import { UNIT_BYTES } from '../indexed/frame.ts'
import { type Aead, openInto, SEAL_BYTES, sealInto } from './aead.ts'
import { EPOCH_BYTES, type Epochs } from './epochs.ts'
import { type DatabaseKeys, KEY_ID_BYTES, LABELS } from './keys.ts'

/** The bytes of a frame's header that are authenticated. */
export const SEALED_HEADER_BYTES = 16

/** A part; the last one of a frame may be shorter. */
export const PART_BYTES = 2 * UNIT_BYTES
export const SEALED_PART_BYTES = PART_BYTES + SEAL_BYTES

/** The length of sealed parts with `length` bytes. */
export const sealedPartsBytes = (length: number): number =>
  length + Math.ceil(length / PART_BYTES) * SEAL_BYTES

export interface FrameOpener {
  /** Whether the key is missing: the checksums of frames can be verified, and their bytes are taken for zeros. */
  readonly isKeyless: boolean

  /** Decrypts a body to `into`; false if it was not sealed with this header. */
  open(pos: number, header: Uint8Array, body: Uint8Array, into: Uint8Array): boolean

  /** Decrypts parts, the first at position `pos`, to `into`; false if one was not sealed with this header. */
  openParts(pos: number, header: Uint8Array, sealed: Uint8Array, into: Uint8Array): boolean
}

export class FrameSeal implements FrameOpener {
  readonly isKeyless = false
  readonly #keys: DatabaseKeys
  readonly #epochs: Epochs
  readonly #aad = Buffer.alloc(KEY_ID_BYTES + SEALED_HEADER_BYTES)
  readonly #salt = Buffer.alloc(EPOCH_BYTES + 4)

  constructor(keys: DatabaseKeys, epochs: Epochs) {
    this.#keys = keys
    this.#epochs = epochs
    this.#aad.set(keys.id)
  }

  /** Positions from here on are written for the first time, or again: they get a new salt. */
  beginEpoch(pos: number): void {
    this.#epochs.begin(pos)
  }

  /** Seals `plain` to `into`. */
  seal(pos: number, header: Uint8Array, plain: Uint8Array, into: Uint8Array): void {
    this.#aad.set(header, KEY_ID_BYTES)
    sealInto(this.#keyAt(pos), this.#aad, plain, into)
  }

  open(pos: number, header: Uint8Array, body: Uint8Array, into: Uint8Array): boolean {
    this.#aad.set(header, KEY_ID_BYTES)
    if (openInto(this.#keyAt(pos), this.#aad, body, into)) return true
    return this.#epochs.refresh() && openInto(this.#keyAt(pos), this.#aad, body, into)
  }

  /** Seals `plain` in parts, the first at position `pos`, to `into`. */
  sealParts(pos: number, header: Uint8Array, plain: Uint8Array, into: Uint8Array): void {
    this.#aad.set(header, KEY_ID_BYTES)
    const key = this.#keyAt(pos)
    for (let off = 0, at = 0; off < plain.length; off += PART_BYTES, at += SEALED_PART_BYTES) {
      this.#aad.writeBigUInt64LE(BigInt(pos + off), KEY_ID_BYTES)
      sealInto(
        key,
        this.#aad,
        plain.subarray(off, off + PART_BYTES),
        into.subarray(at, at + SEALED_PART_BYTES),
      )
    }
  }

  openParts(pos: number, header: Uint8Array, sealed: Uint8Array, into: Uint8Array): boolean {
    this.#aad.set(header, KEY_ID_BYTES)
    if (this.#openParts(pos, sealed, into)) return true
    return this.#epochs.refresh() && this.#openParts(pos, sealed, into)
  }

  #openParts(pos: number, sealed: Uint8Array, into: Uint8Array): boolean {
    const key = this.#keyAt(pos)
    for (let off = 0, at = 0; off < into.length; off += PART_BYTES, at += SEALED_PART_BYTES) {
      this.#aad.writeBigUInt64LE(BigInt(pos + off), KEY_ID_BYTES)
      const part = into.subarray(off, off + PART_BYTES)
      if (!openInto(key, this.#aad, sealed.subarray(at, at + SEALED_PART_BYTES), part)) return false
    }
    return true
  }

  #keyAt(pos: number): Aead {
    this.#salt.set(this.#epochs.at(pos))
    this.#salt.writeUInt32LE(Math.floor(pos / SEGMENT_BYTES), EPOCH_BYTES)
    return this.#keys.subKey(LABELS.frame, this.#salt)
  }
}

/** Frames of an encrypted database without its key. No record is read of such a database (row-seal.ts): only a check reads frames. */
export const KEYLESS_FRAMES: FrameOpener = {
  isKeyless: true,
  open: () => false,
  openParts: () => false,
}
