/**
 * Encodes a transaction for the worker thread as a few flat values, because a structured clone of many small objects
 * costs more than the commit itself. Bytes in SharedArrayBuffers are passed by reference; all others are copied once,
 * into one buffer that is transferred.
 *
 * Each change is {@link FIELDS} numbers and, in `views`, three numbers per body buffer: which memory (an index into
 * `shared`, or -1 for `copied`), its offset there, its length.
 */
import { oid as toOid, tid as toTid, knownOid, knownTid } from '../../ids.ts'
import { NO_BYTES } from '../../bytes.ts'
import { isSlice, type ObjectChange, type RecordSource } from '../../changes.ts'
import type { NewTransaction } from '../../store.ts'

export interface WireTransaction {
  readonly description: string
  readonly user: string
  readonly extension: Uint8Array
  readonly tid: bigint | undefined
  readonly fields: Float64Array
  readonly tids: BigInt64Array
  readonly views: Float64Array
  readonly shared: readonly SharedArrayBuffer[]
  readonly copied: ArrayBuffer
}

/** oid, kind, length of head, length of tail, number of body buffers; for a slice its oid, off, len. */
const FIELDS = 8
const KIND_UNCREATED = 0
const KIND_BUFFERS = 1
const KIND_SLICE = 2
const KIND_BARE = 3
const COPIED = -1

export function encodeTransaction(transaction: NewTransaction): WireTransaction {
  const { changes } = transaction
  const fields = new Float64Array(changes.length * FIELDS)
  const tids = new BigInt64Array(changes.length * 2)
  const views: number[] = []
  const shared = new Map<SharedArrayBuffer, number>()
  const copied = Buffer.allocUnsafeSlow(copiedLength(changes))
  let end = 0
  const copy = (bytes: Uint8Array): void => {
    copied.set(bytes, end)
    end += bytes.length
  }
  changes.forEach(({ oid, base, record }, index) => {
    const field = index * FIELDS
    fields[field] = oid
    tids[index * 2] = base
    if (record === null) return
    const { head, body, tail } = record
    fields[field + 2] = head.length
    fields[field + 3] = tail?.length ?? 0
    copy(head)
    if (tail !== undefined) copy(tail)
    if (body === undefined) {
      fields[field + 1] = KIND_BARE
    } else if (isSlice(body)) {
      fields[field + 1] = KIND_SLICE
      fields[field + 5] = body.oid
      fields[field + 6] = body.off
      fields[field + 7] = body.len
      tids[index * 2 + 1] = body.tid
    } else {
      fields[field + 1] = KIND_BUFFERS
      fields[field + 4] = body.length
      for (const part of body) {
        if (part.buffer instanceof SharedArrayBuffer) {
          const memory = shared.get(part.buffer) ?? shared.size
          shared.set(part.buffer, memory)
          views.push(memory, part.byteOffset, part.length)
        } else {
          views.push(COPIED, end, part.length)
          copy(part)
        }
      }
    }
  })
  return {
    description: transaction.description ?? '',
    user: transaction.user ?? '',
    extension: Uint8Array.from(transaction.extension ?? NO_BYTES),
    tid: transaction.tid,
    fields,
    tids,
    views: Float64Array.from(views),
    shared: [...shared.keys()],
    copied: copied.buffer,
  }
}

export function decodeTransaction(wire: WireTransaction): NewTransaction {
  const { fields, tids, views, shared, copied } = wire
  let end = 0
  let view = 0
  const take = (length: number): Uint8Array => {
    const bytes = new Uint8Array(copied, end, length)
    end += length
    return bytes
  }
  const takeView = (): Uint8Array => {
    const memory = views[view++] ?? 0
    const off = views[view++] ?? 0
    const length = views[view++] ?? 0
    if (memory === COPIED) end += length
    return new Uint8Array(memory === COPIED ? copied : (shared[memory] ?? copied), off, length)
  }
  const takeRecord = (index: number): RecordSource | null => {
    const field = (at: number): number => fields[index * FIELDS + at] ?? 0
    if (field(1) === KIND_UNCREATED) return null
    const head = take(field(2))
    const tail = take(field(3))
    if (field(1) === KIND_BARE) return { head, tail }
    if (field(1) === KIND_BUFFERS) return { head, body: Array.from({ length: field(4) }, takeView), tail }
    const slice = {
      oid: toOid(field(5)),
      tid: toTid(tids[index * 2 + 1] ?? 0n),
      off: field(6),
      len: field(7),
    }
    return { head, body: slice, tail }
  }
  const changes: ObjectChange[] = []
  for (let index = 0; index * FIELDS < fields.length; index++) {
    const oid = knownOid(fields[index * FIELDS] ?? 0)
    const base = knownTid(tids[index * 2] ?? 0n)
    changes.push({ oid, base, record: takeRecord(index) })
  }
  return {
    changes,
    description: wire.description,
    user: wire.user,
    extension: wire.extension,
    ...(wire.tid === undefined ? {} : { tid: toTid(wire.tid) }),
  }
}

function copiedLength(changes: readonly ObjectChange[]): number {
  let length = 0
  for (const { record } of changes) {
    if (record === null) continue
    length += record.head.length + (record.tail?.length ?? 0)
    if (record.body === undefined || isSlice(record.body)) continue
    for (const part of record.body) {
      if (!(part.buffer instanceof SharedArrayBuffer)) length += part.length
    }
  }
  return length
}
