/** The content of the frames of a stream (format.ts), with every number checked. */
import { StoreError } from '../../store/errors.ts'
import { oid as toOid, tid as toTid, TID_MAX, TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { keptMoments, type KeptMoments } from '../../store/kept-moments.ts'
import type { CopiedRecord, HistoryItem, TransactionHead } from '../copy/history-items.ts'
import {
  BEGIN_BYTES,
  BODY_BYTES_MAX,
  EARLIER_MOMENTS_MAX,
  FRAME,
  RECORD,
  RECORD_BYTES,
  UP_TO_PRESENT,
  type StreamHeader,
} from './format.ts'
import { refuse, type FrameReader } from './frames.ts'

/** No object has this oid or a later one: the place behind the last object is written so. */
const OID_END = Number.MAX_SAFE_INTEGER
const ORIGIN_BYTES = 16
/** Shorter parts of a body are joined, this number at a time: each costs memory beside its bytes. */
const SHORT_BYTES = 4096
const SHORT_FRAMES_MAX = 256

/** How a stream ended. */
export interface StreamEnd {
  readonly transactions: number
  readonly lastTid: Tid
  readonly fingerprint: bigint
}

export type StreamItem =
  | { readonly kind: 'moments'; readonly moments: KeptMoments }
  | HistoryItem
  | { readonly kind: 'stream end'; readonly end: StreamEnd }

/** The header of a stream, whose magic was read. @throws StoreError */
export async function readHeader(frames: FrameReader): Promise<StreamHeader> {
  const { kind, payload } = await frames.next()
  if (kind !== FRAME.begin || payload.length < BEGIN_BYTES) refuse('it has no header')
  const rest = new Fields(payload, BEGIN_BYTES)
  const [retention, name, compression] = [rest.text(), rest.text(), rest.text()]
  rest.end()
  const moments = await frames.next()
  if (moments.kind !== FRAME.moments) refuse('it does not say which moments are kept')
  return {
    origin: payload.toString('hex', 0, ORIGIN_BYTES),
    base: tidAt(payload, 16),
    baseFingerprint: payload.readBigUInt64LE(24),
    upTo: tidAt(payload, 32),
    isUpToPresent: (payload.readUInt32LE(40) & UP_TO_PRESENT) !== 0,
    bytes: Number(payload.readBigUInt64LE(44)),
    retention,
    name,
    compression,
    moments: momentsIn(moments.payload),
  }
}

/** What follows the header, up to the end of the stream. @throws StoreError */
export async function* readItems(
  frames: FrameReader,
  { base, upTo }: StreamHeader,
): AsyncGenerator<StreamItem> {
  let last = base
  let transactions = 0
  for (;;) {
    const { kind, payload } = await frames.next()
    if (kind === FRAME.moments) yield { kind: 'moments', moments: momentsIn(payload) }
    else if (kind === FRAME.transaction) {
      const head = headIn(payload)
      if (head.tid <= last || head.tid > upTo) refuse('its transactions are not in order')
      last = head.tid
      transactions++
      yield { kind: 'transaction', head }
      yield* readRecords(frames, head.tid)
      yield { kind: 'end' }
    } else if (kind === FRAME.end) {
      const end = endIn(payload)
      if (end.transactions !== transactions || end.lastTid !== last) refuse('transactions are missing')
      yield { kind: 'stream end', end }
      return
    } else refuse(`a frame of kind ${kind} is out of place`)
  }
}

async function* readRecords(frames: FrameReader, tid: Tid): AsyncGenerator<StreamItem> {
  let before = -1
  for (let count = 0; ;) {
    const { kind, payload } = await frames.next()
    if (kind === FRAME.moments) {
      yield { kind: 'moments', moments: momentsIn(payload) }
      continue
    }
    if (kind === FRAME.committed) {
      const fields = new Fields(payload, 0)
      if (fields.u64() !== BigInt(count) || count === 0) refuse('records are missing')
      return fields.end()
    }
    if (kind !== FRAME.record) refuse(`a frame of kind ${kind} is out of place`)
    const record = await readRecord(frames, payload, tid)
    if (record.oid <= before) refuse('its records are not in order')
    before = record.oid
    count++
    yield { kind: 'record', record }
  }
}

async function readRecord(frames: FrameReader, payload: Buffer, tid: Tid): Promise<CopiedRecord> {
  if (payload.length < RECORD_BYTES) refuse('a record is too short')
  const oid = oidAt(payload, 0)
  const kind = payload[8]
  const [headBytes, len, tailBytes] = [12, 16, 20].map(at => payload.readUInt32LE(at)) as [
    number,
    number,
    number,
  ]
  if (payload.length !== RECORD_BYTES + headBytes + tailBytes) refuse('a record has another length')
  const head = payload.subarray(RECORD_BYTES, RECORD_BYTES + headBytes)
  const tail = payload.subarray(RECORD_BYTES + headBytes)
  if (kind === RECORD.tombstone) return { oid, head: null, body: undefined, tail }
  if (kind === RECORD.plain) return { oid, head, body: undefined, tail }
  if (kind === RECORD.slice) {
    const slice = { oid: oidAt(payload, 24), tid: tidAt(payload, 32), off: numberAt(payload, 40), len }
    if (slice.tid > tid || (slice.tid === tid && slice.oid >= oid))
      refuse('a record shares bytes of a later one')
    return { oid, head, body: slice, tail }
  }
  if (kind !== RECORD.bytes) refuse('a record is of an unknown kind')
  const body = await readBody(frames, len)
  return { oid, head, body: { len, read: () => Promise.resolve(body) }, tail }
}

async function readBody(frames: FrameReader, length: number): Promise<readonly Uint8Array[]> {
  if (length > BODY_BYTES_MAX) refuse(`a record has ${length} bytes`)
  const parts: Uint8Array[] = []
  let short: Uint8Array[] = []
  for (let left = length; left > 0;) {
    const { kind, payload } = await frames.next()
    if (kind !== FRAME.bytes || payload.length === 0 || payload.length > left)
      refuse('the bytes of a record are missing')
    left -= payload.length
    const isShort = payload.length < SHORT_BYTES
    if (isShort) short.push(payload)
    if (isShort && short.length < SHORT_FRAMES_MAX) continue
    parts.push(...joined(short))
    if (!isShort) parts.push(payload)
    short = []
  }
  parts.push(...joined(short))
  return parts
}

const joined = (parts: readonly Uint8Array[]): readonly Uint8Array[] =>
  parts.length > 1 ? [Buffer.concat(parts)] : parts

function headIn(payload: Buffer): TransactionHead {
  const fields = new Fields(payload, 0)
  const tid = fields.tid()
  const [user, description, extension] = [fields.text(), fields.text(), fields.bytes()]
  fields.end()
  return { tid, user, description, extension }
}

function momentsIn(payload: Buffer): KeptMoments {
  const fields = new Fields(payload, 0)
  const from = fields.tid()
  const earlier: Tid[] = []
  if (fields.left > 8 * EARLIER_MOMENTS_MAX) refuse('it keeps too many moments')
  while (fields.left > 0) earlier.push(fields.tid())
  return keptMoments(from, earlier)
}

function endIn(payload: Buffer): StreamEnd {
  const fields = new Fields(payload, 0)
  const end = { transactions: Number(fields.u64()), lastTid: fields.tid(), fingerprint: fields.u64() }
  fields.end()
  return end
}

/** Reads one field after the other. */
class Fields {
  readonly #payload: Buffer
  #at: number

  constructor(payload: Buffer, at: number) {
    this.#payload = payload
    this.#at = at
  }

  get left(): number {
    return this.#payload.length - this.#at
  }

  u64(): bigint {
    return this.#part(8).readBigUInt64LE()
  }

  tid(): Tid {
    return tidAt(this.#part(8), 0)
  }

  bytes(): Buffer {
    return this.#part(this.#part(4).readUInt32LE())
  }

  text(): string {
    return this.bytes().toString()
  }

  /** @throws StoreError if there is more. */
  end(): void {
    if (this.left !== 0) refuse('a frame is too long')
  }

  #part(length: number): Buffer {
    if (length > this.left) refuse('a frame is too short')
    this.#at += length
    return this.#payload.subarray(this.#at - length, this.#at)
  }
}

function tidAt(payload: Buffer, at: number): Tid {
  const value = payload.readBigUInt64LE(at)
  if (value > TID_MAX) refuse('a transaction has no valid id')
  return value === 0n ? TID_NONE : toTid(value)
}

function numberAt(payload: Buffer, at: number): number {
  const value = payload.readBigUInt64LE(at)
  if (value >= BigInt(OID_END)) refuse('a number is too large')
  return Number(value)
}

const oidAt = (payload: Buffer, at: number): Oid => toOid(numberAt(payload, at))

/** Whether an error says that a stream ended early. */
export const isCut = (error: unknown): boolean => error instanceof StoreError && error.code === 'cut-stream'
