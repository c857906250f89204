/** FileStorages made by hand, byte by byte, for tests: also such as ZODB would not write. */
import { bytesOf } from '../../store/os-text.ts'

/** A record: its data, a back pointer to the record of that name, or null (a back pointer of 0). */
export interface HandRecord {
  readonly oid: number | bigint
  readonly data: Uint8Array | string | { readonly sameAs: string } | { readonly back: number } | null
  /** What later records refer to it by. */
  readonly name?: string
  readonly prev?: number
  readonly vlen?: number
}

export interface HandTransaction {
  readonly tid: bigint
  readonly status?: string
  readonly user?: string
  readonly description?: string
  readonly extension?: Uint8Array
  readonly records?: readonly HandRecord[]
}

const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255])

/** A FileStorage of these transactions. */
export class HandFile {
  #bytes: Uint8Array
  readonly #named = new Map<string, number>()
  readonly #newest = new Map<bigint, number>()

  constructor(magic = 'FS30') {
    this.#bytes = Buffer.from(magic, 'latin1')
  }

  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** Where the record of that name stands. */
  position(name: string): number {
    return this.#named.get(name)!
  }

  add(transaction: HandTransaction): this {
    const start = this.#bytes.length
    const texts = [
      bytesOf(transaction.user ?? ''),
      bytesOf(transaction.description ?? ''),
      Buffer.from(transaction.extension ?? []),
    ]
    const head = Buffer.concat(texts.map(text => u16(text.length)))
    const pieces: Uint8Array[] = [...texts]
    let pos = start + 23 + texts.reduce((sum, text) => sum + text.length, 0)
    for (const record of transaction.records ?? []) {
      const bytes = this.#record(record, transaction.tid, start)
      if (record.name !== undefined) this.#named.set(record.name, pos)
      this.#newest.set(BigInt(record.oid), pos)
      pieces.push(bytes)
      pos += bytes.length
    }
    const tlen = u64(pos - start)
    const status = Buffer.from(transaction.status ?? ' ', 'latin1')
    this.#bytes = Buffer.concat([this.#bytes, u64(transaction.tid), tlen, status, head, ...pieces, tlen])
    return this
  }

  #record({ oid, data, prev, vlen = 0 }: HandRecord, tid: bigint, transaction: number): Buffer {
    const pointer = this.#pointer(data)
    const content = pointer === undefined ? Buffer.from(data as Uint8Array) : u64(pointer)
    return Buffer.concat([
      u64(oid),
      u64(tid),
      u64(prev ?? this.#newest.get(BigInt(oid)) ?? 0),
      u64(transaction),
      u16(vlen),
      u64(pointer === undefined ? content.length : 0),
      content,
    ])
  }

  #pointer(data: HandRecord['data']): number | undefined {
    if (data === null) return 0
    if (typeof data === 'string' || data instanceof Uint8Array) return undefined
    return 'back' in data ? data.back : this.position(data.sameAs)
  }
}
