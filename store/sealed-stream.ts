/**
 * A stream of an encrypted database (core/stream/), encrypted as it leaves the process and decrypted where it is received:
 *
 * | length | is, numbers little-endian                                                                          |
 * |--------|----------------------------------------------------------------------------------------------------|
 * | 16     | {@link MAGIC}                                                                                      |
 * | 4      | the length of the next part                                                                        |
 * | any    | the note of the database's keys (encryption/key-slots.ts)                                          |
 * | 16     | the salt of the sub-key                                                                            |
 * |        | parts, each: its length (4), with the highest bit set for the last one; then a part of the stream, sealed (aead.ts) |
 *
 * Authenticated with a part: the key's id (16), its number (8), and 1 if it is the last one, otherwise 0 (1): parts cannot be lost, or change
 * places. Other streams may follow. A new database that receives one gets the same keys.
 */
import { randomBytes } from 'node:crypto'
import { masterKeyFor, sourceOr } from './database-key.ts'
import type { KeyCopy, KeySource } from './encryption.ts'
import { openInto, SEAL_BYTES, sealInto } from './encryption/aead.ts'
import { parseKeySlots } from './encryption/key-slots.ts'
import { DatabaseKeys, KEY_ID_BYTES, LABELS } from './encryption/keys.ts'
import { CannotOpenError, StoreError } from './errors.ts'

export const MAGIC = Buffer.from('zblkfs sealed 1\n', 'latin1')

const SALT_BYTES = 16
const NOTE_BYTES_MAX = 64 << 10
const PART_BYTES_MAX = 32 << 20
const IS_LAST = 0x8000_0000

/** Encrypts a stream. */
export async function* sealStream(
  { note, master }: KeyCopy,
  stream: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer> {
  const salt = randomBytes(SALT_BYTES)
  const keys = new DatabaseKeys(master)
  const text = Buffer.from(note)
  yield Buffer.concat([MAGIC, u32(text.length), text, salt])
  let number = 0
  const sealed = (part: Buffer, isLast: boolean): Buffer => {
    const into = Buffer.allocUnsafe(4 + part.length + SEAL_BYTES)
    into.writeUInt32LE((part.length + SEAL_BYTES + (isLast ? IS_LAST : 0)) >>> 0)
    sealInto(keys.subKey(LABELS.stream, salt), aadOf(keys.id, number++, isLast), part, into.subarray(4))
    return into
  }
  let last: Buffer | undefined
  for await (const part of stream) {
    if (last !== undefined) yield sealed(last, false)
    last = part
  }
  yield sealed(last ?? Buffer.alloc(0), true)
}

/** A stream that may be sealed, and several in a row. */
export class OpenedStream implements AsyncIterable<Uint8Array> {
  readonly #input: AsyncIterator<Uint8Array>
  readonly #key: KeySource | undefined
  #rest: Buffer = Buffer.alloc(0)
  #keys: KeyCopy | undefined

  /** @param key by default that of the command line. @param keys those of the source, if they are known. */
  constructor(input: AsyncIterable<Uint8Array>, key?: KeySource, keys?: KeyCopy) {
    this.#input = input[Symbol.asyncIterator]()
    this.#key = key
    this.#keys = keys
  }

  /** The keys of the source, once the first bytes were read; undefined if it is not encrypted. */
  get keys(): KeyCopy | undefined {
    return this.#keys
  }

  /** @throws CannotOpenError `key-needed`, `wrong-key`; StoreError `cut-stream`, `bad-stream` */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      while (await this.#fill(1)) {
        if ((await this.#fill(MAGIC.length)) && this.#rest.subarray(0, MAGIC.length).equals(MAGIC))
          yield* this.#sealed()
        else {
          // What follows a stream that is not sealed is not sealed either.
          yield this.#rest
          this.#rest = Buffer.alloc(0)
          for (;;) {
            const { done, value } = await this.#input.next()
            if (done === true) return
            yield value
          }
        }
      }
    } finally {
      await this.#input.return?.()
    }
  }

  async *#sealed(): AsyncGenerator<Uint8Array> {
    await this.#take(MAGIC.length)
    const length = (await this.#take(4)).readUInt32LE()
    if (length > NOTE_BYTES_MAX) throw unsound('it has no keys')
    const note = (await this.#take(length)).toString()
    const salt = Buffer.from(await this.#take(SALT_BYTES))
    const keys = await this.#unlock(note)
    for (let number = 0, isLast = false; !isLast; number++) {
      const header = (await this.#take(4)).readUInt32LE()
      isLast = header >= IS_LAST
      const bytes = header % IS_LAST
      if (bytes < SEAL_BYTES || bytes > PART_BYTES_MAX) throw unsound(`it has a part of ${bytes} bytes`)
      const plain = Buffer.allocUnsafe(bytes - SEAL_BYTES)
      const aad = aadOf(keys.id, number, isLast)
      if (!openInto(keys.subKey(LABELS.stream, salt), aad, await this.#take(bytes), plain))
        throw unsound('a part was not encrypted with its key for this place')
      yield plain
    }
  }

  async #unlock(note: string): Promise<DatabaseKeys> {
    const slots = parseKeySlots(note)
    if (this.#keys?.master.id !== slots.id) {
      const secret = await sourceOr(this.#key)?.({ path: 'the stream', isNew: false })
      if (secret === undefined)
        throw new CannotOpenError('the stream is encrypted, and no key was given', { code: 'key-needed' })
      this.#keys = { note, master: await masterKeyFor('the stream', slots, secret) }
    }
    return new DatabaseKeys(this.#keys.master)
  }

  async #take(length: number): Promise<Buffer> {
    if (!(await this.#fill(length))) throw new StoreError('the stream ends early', { code: 'cut-stream' })
    const taken = this.#rest.subarray(0, length)
    this.#rest = this.#rest.subarray(length)
    return taken
  }

  /** Whether this many bytes are there. */
  async #fill(length: number): Promise<boolean> {
    if (this.#rest.length >= length) return true
    const pieces: Uint8Array[] = [this.#rest]
    let found = this.#rest.length
    while (found < length) {
      const { done, value } = await this.#input.next()
      if (done === true) break
      pieces.push(value)
      found += value.length
    }
    this.#rest = Buffer.concat(pieces)
    return found >= length
  }
}

const unsound = (reason: string): StoreError =>
  new StoreError(`this is not a sound stream: ${reason}`, { code: 'bad-stream' })

function aadOf(id: Uint8Array, number: number, isLast: boolean): Buffer {
  const aad = Buffer.alloc(KEY_ID_BYTES + 9)
  aad.set(id)
  aad.writeBigUInt64LE(BigInt(number), KEY_ID_BYTES)
  aad[KEY_ID_BYTES + 8] = isLast ? 1 : 0
  return aad
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
