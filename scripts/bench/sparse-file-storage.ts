/**
 * Writes a large FileStorage (the `Data.fs` of ZODB) quickly: only the beginning and the end of a record's data are written, the rest is a
 * hole. store/filestorage/format.ts describes the format; it is encoded here once more because these programs use databases from the
 * outside only.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import type { Tid } from '../../store/ids.ts'

const MAGIC = 'FS30'
const TRANSACTION_HEADER_BYTES = 23
const RECORD_HEADER_BYTES = 42
const LENGTH_BYTES = 8

export class SparseFileStorage {
  readonly #fd: number
  #pos = MAGIC.length
  #transaction = MAGIC.length
  #tid = 0n

  constructor(path: string) {
    this.#fd = openSync(path, 'wx')
    writeSync(this.#fd, MAGIC)
  }

  /** The number of bytes written so far. */
  get length(): number {
    return this.#pos
  }

  begin(tid: Tid): void {
    this.#tid = tid
    this.#transaction = this.#pos
    this.#pos += TRANSACTION_HEADER_BYTES
  }

  /** Adds a record of the transaction: `head`, `hole` bytes that read as zeros, `tail`. */
  record(oid: number, head: Uint8Array, hole = 0, tail: Uint8Array = new Uint8Array(0)): void {
    const length = head.length + hole + tail.length
    const header = Buffer.alloc(RECORD_HEADER_BYTES)
    header.writeBigUInt64BE(BigInt(oid), 0)
    header.writeBigUInt64BE(this.#tid, 8)
    header.writeBigUInt64BE(BigInt(this.#transaction), 24)
    header.writeBigUInt64BE(BigInt(length), 34)
    writeSync(this.#fd, Buffer.concat([header, head]), 0, undefined, this.#pos)
    this.#pos += header.length + length
    if (tail.length > 0) writeSync(this.#fd, tail, 0, undefined, this.#pos - tail.length)
  }

  /** Ends the transaction. */
  end(): void {
    const length = BigInt(this.#pos - this.#transaction)
    const header = Buffer.alloc(TRANSACTION_HEADER_BYTES)
    header.writeBigUInt64BE(this.#tid, 0)
    header.writeBigUInt64BE(length, 8)
    header.write(' ', 16)
    writeSync(this.#fd, header, 0, undefined, this.#transaction)
    const second = Buffer.alloc(LENGTH_BYTES)
    second.writeBigUInt64BE(length)
    writeSync(this.#fd, second, 0, undefined, this.#pos)
    this.#pos += LENGTH_BYTES
  }

  close(): void {
    ftruncateSync(this.#fd, this.#pos)
    closeSync(this.#fd)
  }
}
