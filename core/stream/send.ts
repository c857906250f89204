/**
 * Sends the history of a database as a stream (format.ts): the transactions after a base that the receiver has, or all that are kept.
 *
 * The database may be written and packed meanwhile: the range is fixed and its end pinned, and the kept moments are sent again
 * before the end of each transaction if a pack has changed them.
 */
import type { RevisionReader } from '../../store/stored-revisions.ts'
import { StoreError } from '../../store/errors.ts'
import { formatTid, TID_NONE, type Tid } from '../../store/ids.ts'
import { ALL_MOMENTS, isKept, isSameMoments, type KeptMoments } from '../../store/kept-moments.ts'
import { formatRetention } from '../../store/retention.ts'
import { sealStream } from '../../store/sealed-stream.ts'
import type { Store, TransactionInfo } from '../../store/store.ts'
import { isNew, type CopiedRecord, type TransactionHead } from '../copy/history-items.ts'
import { copyingOf, readHistory } from '../copy/history-reader.ts'
import { recordBytes, StreamEncoder, transactionBytes } from './encode.ts'
import { BODY_BYTES_MAX, BODY_FRAME_BYTES, fingerprintOf, type StreamHeader } from './format.ts'

/** Small frames are sent together. */
const CHUNK_BYTES = 256 << 10
/** An estimate of the bytes of a record beside those that a store counts. */
const RECORD_OVERHEAD_BYTES = 64

export interface SendRange {
  /** A transaction that the receiver has as its last one; absent: everything that is kept is sent. */
  readonly from?: Tid
  /** The last transaction to send, by default the present one. */
  readonly to?: Tid
  /** Bytes that the receiver should have are sent again: it may have dropped them. */
  readonly isSelfContained?: boolean
}

/** The size of a stream. */
export interface StreamSize {
  readonly transactions: number
  readonly records: number
  readonly bytes: number
}

/** Receives the length of the stream so far, and an estimate of its whole length, which may prove too low. */
export type OnSent = (done: number, total: number) => void

interface SendOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: OnSent
}

/**
 * The stream of an encrypted database is encrypted with its key (store/sealed-stream.ts).
 * @throws StoreError if the range does not exist, or the store cannot be copied; the signal's reason.
 */
export async function* sendHistory(
  source: Store,
  range: SendRange,
  options: SendOptions = {},
): AsyncGenerator<Buffer> {
  const { encrypting } = source.capabilities
  const stream = plainHistory(source, range, options)
  if (encrypting === undefined) yield* stream
  else yield* sealStream(await encrypting.copy(), stream)
}

async function* plainHistory(
  source: Store,
  range: SendRange,
  { signal, onProgress }: SendOptions,
): AsyncGenerator<Buffer> {
  const reader = source.capabilities.measuring?.reader()
  try {
    const header = await headerOf(source, range, reader)
    await source.capabilities.pinning?.pin([header.upTo])
    const batch = new Batch()
    let done = 0
    const shared = sharedIn(range, header)
    for await (const frame of framesOf(source, header, shared, reader)) {
      signal?.throwIfAborted()
      done += frame.length
      onProgress?.(done, header.bytes)
      const chunk = batch.add(frame)
      if (chunk !== undefined) yield chunk
    }
    yield batch.rest()
  } finally {
    reader?.close()
  }
}

/** The size of the stream that {@link sendHistory} would send, without reading the bytes. @throws as sendHistory */
export async function measureHistory(source: Store, range: SendRange): Promise<StreamSize> {
  const reader = source.capabilities.measuring?.reader()
  try {
    const header = await headerOf(source, range, reader)
    const encoder = new StreamEncoder()
    let [transactions, records] = [0, 0]
    let bytes = encoder.begin(header).length + encoder.end(0, TID_NONE, 0n).length
    const shared = sharedIn(range, header)
    for await (const item of readHistory(source, header.base, header.upTo, shared)) {
      if (item.kind === 'transaction') {
        transactions++
        bytes += transactionBytes(item.head)
      } else if (item.kind === 'record') {
        records++
        bytes += recordBytes(item.record)
      }
    }
    return { transactions, records, bytes }
  } finally {
    reader?.close()
  }
}

/** The transaction up to which slices may refer to bytes that the receiver has. */
const sharedIn = ({ isSelfContained = false }: SendRange, { base }: StreamHeader): Tid =>
  isSelfContained ? TID_NONE : base

/** The newest transaction up to a moment. */
export async function transactionUpTo(store: Store, upTo: Tid): Promise<TransactionInfo | undefined> {
  for await (const info of store.transactions({ upTo, reverse: true, limit: 1 })) return info
  return undefined
}

async function headerOf(
  source: Store,
  { from = TID_NONE, to }: SendRange,
  reader: RevisionReader | undefined,
): Promise<StreamHeader> {
  copyingOf(source)
  const { lineage, measuring, retaining, compressing, branch } = source.capabilities
  if (lineage === undefined) throw new StoreError(`${source.name} cannot be sent`)
  // Before the last transaction is looked up: see StreamHeader.moments.
  const moments = (await reader?.kept()) ?? ALL_MOMENTS
  const last = await source.lastTid()
  if (last === TID_NONE) throw new StoreError(`${source.name} has no transaction yet`, { code: 'no-moment' })
  const upTo = to ?? last
  const base = from === TID_NONE ? undefined : await exactly(source, from)
  if (from > upTo)
    throw new StoreError(`transaction ${formatTid(from)} is later than ${formatTid(upTo)}`, {
      code: 'no-moment',
    })
  await exactly(source, upTo)
  if (!isKept(moments, upTo))
    throw new StoreError(`${source.name}: a pack has dropped the moment ${formatTid(upTo)}`, {
      code: 'no-moment',
    })
  const retention = await retaining?.retention()
  const added = await measuring?.added(from, upTo)
  const space = (await measuring?.space())?.totalBytes ?? 0
  const stored = (added?.storedBytes ?? 0) + RECORD_OVERHEAD_BYTES * (added?.revisions ?? 0)
  // What a branch has from its base is not in its sums.
  const isKnown = branch === undefined || from >= branch.base
  return {
    origin: await lineage.origin(),
    base: from,
    baseFingerprint: base === undefined ? 0n : fingerprintOf(base),
    upTo,
    isUpToPresent: upTo === last,
    bytes: isKnown ? Math.min(stored, space) : 0,
    retention: retention === undefined ? '' : formatRetention(retention),
    name: source.name,
    compression: (await compressing?.compression()) ?? '',
    moments,
  }
}

/** @throws StoreError if there is no such transaction. */
async function exactly(source: Store, tid: Tid): Promise<TransactionInfo> {
  const info = await transactionUpTo(source, tid)
  if (info?.tid === tid) return info
  throw new StoreError(
    `${source.name} has no transaction ${formatTid(tid)}: it never had it, or a pack has dropped it`,
    { code: 'no-transaction' },
  )
}

async function* framesOf(
  source: Store,
  header: StreamHeader,
  shared: Tid,
  reader: RevisionReader | undefined,
): AsyncGenerator<Buffer> {
  const encoder = new StreamEncoder()
  yield encoder.begin(header)
  let { moments } = header
  let [transactions, records] = [0, 0]
  let [lastTid, fingerprint] = [header.base, header.baseFingerprint]
  let head: TransactionHead | undefined
  for await (const item of readHistory(source, header.base, header.upTo, shared)) {
    if (item.kind === 'transaction') {
      head = item.head
      records = 0
    } else if (item.kind === 'record') {
      const body = await bodyOf(item.record)
      if (body === undefined) continue
      // If a pack drops all records of a transaction meanwhile, nothing is sent of it.
      if (records++ === 0 && head !== undefined) yield encoder.transaction(head)
      yield encoder.record(item.record)
      for (const part of body) yield* inFrames(encoder, part)
    } else if (records > 0 && head !== undefined) {
      const now: KeptMoments = (await reader?.kept()) ?? ALL_MOMENTS
      if (!isSameMoments(now, moments)) yield encoder.moments(now)
      moments = now
      yield encoder.committed(records)
      transactions++
      lastTid = head.tid
      fingerprint = fingerprintOf(head)
    }
  }
  yield encoder.end(transactions, lastTid, fingerprint)
}

/** The new bytes of a record; undefined if a pack has dropped it. @throws StoreError if it is too large for a stream. */
async function bodyOf({ body }: CopiedRecord): Promise<readonly Uint8Array[] | undefined> {
  if (body === undefined || !isNew(body)) return []
  if (body.len > BODY_BYTES_MAX) throw new StoreError(`a record of ${body.len} bytes cannot be sent`)
  return await body.read()
}

function* inFrames(encoder: StreamEncoder, bytes: Uint8Array): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += BODY_FRAME_BYTES)
    yield encoder.bytes(bytes.subarray(at, at + BODY_FRAME_BYTES))
}

class Batch {
  #frames: Buffer[] = []
  #length = 0

  /** Returns a chunk when there is enough for one. */
  add(frame: Buffer): Buffer | undefined {
    this.#frames.push(frame)
    this.#length += frame.length
    return this.#length < CHUNK_BYTES ? undefined : this.rest()
  }

  rest(): Buffer {
    const [first] = this.#frames
    const chunk = this.#frames.length === 1 && first !== undefined ? first : Buffer.concat(this.#frames)
    this.#frames = []
    this.#length = 0
    return chunk
  }
}
