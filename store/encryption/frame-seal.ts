/**
 * Encrypts the bodies of frames (store/indexed/frame-codec.ts), after they are compressed. A sealed body (aead.ts) is authenticated with the
 * key's id (16 bytes) and the frame's header from offset 8 on: its position, method, number of units and length.
 */
import { SEGMENT_BYTES } from '../segment-files/log-layout.ts'
import { type Aead, openInto, sealInto } from './aead.ts'
import { EPOCH_BYTES, type Epochs } from './epochs.ts'
import { type DatabaseKeys, KEY_ID_BYTES, LABELS } from './keys.ts'

/** The bytes of a frame's header that are authenticated. */
export const SEALED_HEADER_BYTES = 16

export interface FrameOpener {
  /** Whether the key is missing: the checksums of frames can be verified, and their bytes are taken for zeros. */
  readonly isKeyless: boolean

  /** Decrypts a body to `into`; false if it was not sealed with this header. */
  open(pos: number, header: Uint8Array, body: Uint8Array, into: Uint8Array): boolean
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

  #keyAt(pos: number): Aead {
    this.#salt.set(this.#epochs.at(pos))
    this.#salt.writeUInt32LE(Math.floor(pos / SEGMENT_BYTES), EPOCH_BYTES)
    return this.#keys.subKey(LABELS.frame, this.#salt)
  }
}

/** Frames of an encrypted database without its key. No record is read of such a database (row-seal.ts): only a check reads frames. */
export const KEYLESS_FRAMES: FrameOpener = { isKeyless: true, open: () => false }
