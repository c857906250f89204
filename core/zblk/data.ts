/**
 * Reads the data of ZData and ZBlk0 records without objects: from the pending record, else from the store.
 */
import { shortLivedBytes } from '../bytes.ts'
import type { DataReads, Records } from '../objects/records.ts'
import {
  DATA_HEAD_MAX,
  dataPosition,
  decodeData,
  encodeDataHead,
  hasUsualHead,
  USUAL_HEAD_BYTES,
  type DataClass,
} from '../objects/record.ts'
import { ObjectNotFoundError } from '../../store/errors.ts'
import { TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { isSlice, type RecordSlice, type RecordSource } from '../../store/changes.ts'
import { NO_BYTES } from '../../store/bytes.ts'

/** Bytes in memory, or in a stored record. */
export type Body = readonly Uint8Array[] | RecordSlice

/** The data of a record, in memory or in the store. */
export interface StoredData {
  readonly body: Body
  /** In bytes. */
  readonly len: number
  /** The transaction of the record; TID_NONE if it is pending. */
  readonly tid: Tid
}

/** Locates an object's data without reading it. @throws ObjectNotFoundError, CorruptRecordError. */
export async function findData(records: Records, oid: Oid): Promise<StoredData> {
  const pending = records.pending(oid)
  if (pending !== undefined) return pendingData(pending, oid)
  const { at } = records
  const start = await records.start(oid, USUAL_HEAD_BYTES)
  const isEnough = start === undefined || hasUsualHead(start.bytes)
  const part = isEnough ? start : await records.start(oid, DATA_HEAD_MAX)
  if (part === undefined) throw new ObjectNotFoundError(oid, at)
  const { off, len } = dataPosition(part.bytes, part.size, oid, part.tid)
  return { body: { oid, tid: part.tid, off, len }, len, tid: part.tid }
}

/** The whole data of many objects. @throws ObjectNotFoundError, CorruptRecordError. */
export async function loadData(records: DataReads, oids: readonly Oid[]): Promise<Uint8Array[]> {
  const found: (Uint8Array | undefined)[] = []
  const stored: number[] = []
  for (const [i, oid] of oids.entries()) {
    const pending = records.pending(oid)
    if (pending === undefined) stored.push(i)
    else {
      const { body } = pendingData(pending, oid)
      found[i] = isSlice(body) ? await readSlice(records, body) : copied(body)
    }
  }
  const { at } = records
  const revisions = stored.length === 0 ? [] : await records.load(pick(oids, stored))
  for (const [j, i] of stored.entries()) {
    const revision = revisions[j]
    const oid = oids[i]
    if (oid === undefined) continue
    if (revision === undefined) throw new ObjectNotFoundError(oid, at)
    found[i] = decodeData(revision.record, oid, revision.tid)
  }
  return found as Uint8Array[]
}

/** Bytes `[off, off + len)` of data as pieces, cut at its end. `into`: memory of that length, which may be used. */
export async function readBody(
  records: DataReads,
  body: Body,
  off: number,
  len: number,
  into?: Uint8Array,
): Promise<readonly Uint8Array[]> {
  const part = cutBody(body, off, len)
  return isSlice(part) ? [await readSlice(records, part, into)] : [copied(part)]
}

/** Bytes `[off, off + len)` of a body as a body, cut at its end. Copies nothing. */
export function cutBody(body: Body, off: number, len: number): Body {
  if (isSlice(body)) {
    const from = Math.min(off, body.len)
    return { ...body, off: body.off + from, len: Math.min(len, body.len - from) }
  }
  const pieces: Uint8Array[] = []
  let at = 0
  for (const piece of body) {
    const from = Math.max(off - at, 0)
    const to = Math.min(off + len - at, piece.length)
    if (from < to) pieces.push(from === 0 && to === piece.length ? piece : piece.subarray(from, to))
    at += piece.length
  }
  return pieces
}

/** The length of a body in bytes. */
export function bodyBytes(body: Body): number {
  if (isSlice(body)) return body.len
  let bytes = 0
  for (const piece of body) bytes += piece.length
  return bytes
}

/** The record of data in memory or in the store. */
export const dataRecord = (className: DataClass, body: Body): RecordSource => ({
  ...encodeDataHead(className, bodyBytes(body)),
  body,
})

async function readSlice(
  records: DataReads,
  { oid, tid, off, len }: RecordSlice,
  into?: Uint8Array,
): Promise<Uint8Array> {
  if (len === 0) return NO_BYTES
  const bytes = into?.subarray(0, len) ?? shortLivedBytes(len)
  await records.readSlices([{ oid, tid, off, into: bytes }])
  return bytes
}

/** Copies pending data, as its memory is reused once it is stored. */
const copied = (body: readonly Uint8Array[]): Uint8Array => Buffer.concat(body)

/** A pending record's data: its body, or part of its head if an object was serialised whole. */
function pendingData({ head, body }: RecordSource, oid: Oid): StoredData {
  const data = body ?? [decodeData(head, oid, TID_NONE)]
  return { body: data, len: bodyBytes(data), tid: TID_NONE }
}

function pick(oids: readonly Oid[], positions: readonly number[]): readonly Oid[] {
  return positions.length === oids.length ? oids : positions.flatMap(i => oids[i] ?? [])
}
