/** A scratch database for the state of long-running work: a bounded part is in memory, the rest on disk. */
import { randomBytes } from 'node:crypto'
import Database from 'better-sqlite3'
import { KEY_BYTES, openInto, SEAL_BYTES, sealInto } from './encryption/aead.ts'
import { openAead } from './encryption/open-aead.ts'
import { StoreError } from './errors.ts'
import { bytesOf, textOf } from './os-text.ts'

/** @param schema `CREATE TABLE` statements. The file is removed when it is closed or the process ends. */
export function openScratch(schema: string): Database.Database {
  const db = new Database('')
  db.pragma('journal_mode = OFF')
  // A single transaction: otherwise each row would be its own, at ten times the cost.
  db.exec(`BEGIN; ${schema}`)
  return db
}

/**
 * Encrypts what is in a scratch database, with a key that only this process has: the file is in the directory for temporary files, and the
 * database that the bytes come from may be encrypted.
 */
export class ScratchSeal {
  readonly #aead = openAead(randomBytes(KEY_BYTES))
  readonly #aad = Buffer.alloc(0)

  seal(plain: Uint8Array): Buffer {
    const sealed = Buffer.allocUnsafe(plain.length + SEAL_BYTES)
    sealInto(this.#aead, this.#aad, plain, sealed)
    return sealed
  }

  /** @throws StoreError if the bytes are not as they were sealed: the disk has changed them. */
  open(sealed: Buffer): Buffer {
    const plain = Buffer.allocUnsafe(Math.max(0, sealed.length - SEAL_BYTES))
    if (!openInto(this.#aead, this.#aad, sealed, plain))
      throw new StoreError('a temporary file was changed on its disk')
    return plain
  }

  close(): void {
    this.#aead.close()
  }
}

/** Names in a scratch database. */
export class ScratchNames {
  readonly #seal = new ScratchSeal()

  seal(name: string): Buffer {
    return this.#seal.seal(bytesOf(name))
  }

  /** @throws as {@link ScratchSeal.open} */
  open(sealed: Buffer): string {
    return textOf(this.#seal.open(sealed))
  }

  close(): void {
    this.#seal.close()
  }
}
