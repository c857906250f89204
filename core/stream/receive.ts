/**
 * Receives streams (format.ts) into a database: transactions are added under their tids, each when all of it has arrived and
 * was verified. An interrupted stream leaves whole transactions; a later stream continues after the last of them.
 *
 * A stream fits if the database is empty, or is a copy of the same origin whose last transaction is the base of the stream, or one
 * of the stream's transactions. The transactions up to it are skipped.
 *
 * **Moments.** The source keeps some moments; the database then keeps those, and the moments that it had before. What the source has changed
 * since the last stream may refer to objects and bytes that only moments of the past see. So a database that was packed more than the source
 * at the time of the last stream is refused.
 */
import { ObjectNotFoundError, StoreError } from '../../store/errors.ts'
import { formatOid, formatTid, TID_NONE, type Tid } from '../../store/ids.ts'
import { ALL_MOMENTS, isSameMoments, keptMoments, type KeptMoments } from '../../store/kept-moments.ts'
import { storedRetention } from '../../store/retention.ts'
import type { WritableStore } from '../../store/store.ts'
import type { TransactionHead } from '../copy/history-items.ts'
import { HistoryWriter } from '../copy/history-writer.ts'
import { readHeader, readItems, type StreamEnd, type StreamItem } from './decode.ts'
import { fingerprintOf, type StreamHeader } from './format.ts'
import { FrameReader } from './frames.ts'
import { transactionUpTo } from './send.ts'

/** Moments that are kept one by one, before the history that is kept as a whole. */
const EARLIER_MOMENTS_MAX = 10_000

export interface ReceiveResult {
  /** Transactions added now. */
  readonly transactions: number
  /** The bytes of their records, without shared ones. */
  readonly bytes: number
  /** The last transaction of the database. */
  readonly upTo: Tid
  /** The moments that a pack of the database must keep; undefined if it must not be packed before the next stream. */
  readonly moments: KeptMoments | undefined
}

export interface ReceiveOptions {
  /** Receives the bytes of records so far, and an estimate of all bytes of the stream, which may prove too low. */
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal | undefined
}

/** A stream whose header was read. */
export interface OpenedStream {
  readonly frames: FrameReader
  readonly header: StreamHeader
}

/** @throws StoreError with the code `cut-stream` or `bad-stream`. */
export async function openStream(input: AsyncIterable<Uint8Array>): Promise<OpenedStream> {
  const frames = new FrameReader(input)
  try {
    if (!(await frames.begin())) throw new StoreError('there is no stream', { code: 'cut-stream' })
    return { frames, header: await readHeader(frames) }
  } catch (error) {
    await frames.close()
    throw error
  }
}

/**
 * Receives an opened stream, and those that follow it, and closes the input.
 * @throws StoreError with one of the codes `cut-stream` (the stream ended early: what has arrived is stored), `bad-stream`,
 * `other-database`, `other-base`, `diverged`, `history-dropped`, `bytes-dropped`; the signal's reason.
 */
export async function receiveHistory(
  target: WritableStore,
  { frames, header }: OpenedStream,
  { onProgress, signal }: ReceiveOptions = {},
): Promise<ReceiveResult> {
  let [transactions, bytes] = [0, 0]
  try {
    if (target.capabilities.branch !== undefined)
      throw new StoreError(`${target.name} is a branch, which receives nothing`, { code: 'not-on-branch' })
    for (let next = header; ; next = await readHeader(frames)) {
      const receiver = await Receiver.begin(target, next)
      const done = await receiver.receive(readItems(frames, next), added => {
        signal?.throwIfAborted()
        onProgress?.(bytes + added, bytes + next.bytes)
      })
      transactions += done.transactions
      bytes += done.bytes
      if (!(await frames.begin())) return { ...done, transactions, bytes }
    }
  } finally {
    await frames.close()
  }
}

/** The last transaction of a database. */
interface Last {
  readonly tid: Tid
  readonly fingerprint: bigint
}

class Receiver {
  readonly #target: WritableStore
  readonly #header: StreamHeader
  readonly #writer: HistoryWriter
  /** The last transaction before. */
  readonly #last: Last
  #moments: KeptMoments | undefined
  /** Whether the database keeps other moments than before, which are recorded as those that it must keep. */
  #isMerged = false
  /** Whether the transactions up to {@link Receiver.#last} are known to be those of the source. */
  #isSame: boolean

  private constructor(target: WritableStore, header: StreamHeader, last: Last) {
    this.#target = target
    this.#header = header
    this.#writer = new HistoryWriter(target)
    this.#last = last
    this.#isSame = last.tid === header.base
  }

  /** @throws StoreError if the stream does not fit. */
  static async begin(target: WritableStore, header: StreamHeader): Promise<Receiver> {
    const tid = await target.lastTid()
    const info = tid === TID_NONE ? undefined : await transactionUpTo(target, tid)
    const receiver = new Receiver(target, header, {
      tid,
      fingerprint: info === undefined ? 0n : fingerprintOf(info),
    })
    if (tid === TID_NONE) await receiver.#adopt()
    else await receiver.#assertFits()
    await receiver.#keep(header.moments)
    return receiver
  }

  async receive(items: AsyncIterable<StreamItem>, onAdded: (bytes: number) => void): Promise<ReceiveResult> {
    let [transactions, bytes] = [0, 0]
    let isSkipped = false
    try {
      for await (const item of items) {
        if (item.kind === 'moments') await this.#keep(item.moments)
        else if (item.kind === 'transaction') isSkipped = !this.#isToAdd(item.head)
        else if (item.kind === 'stream end') await this.#end(item.end)
        else if (isSkipped) continue
        else if (item.kind === 'record')
          onAdded((bytes += await this.#stored(() => this.#writer.add(item.record))))
        else {
          await this.#stored(() => this.#writer.end())
          transactions++
        }
      }
    } finally {
      await this.#writer.abandon()
    }
    const { isUpToPresent, moments } = this.#header
    const upTo = await this.#target.lastTid()
    return { transactions, bytes, upTo, moments: isUpToPresent ? moments : undefined }
  }

  /** An empty database becomes a copy. @throws StoreError */
  async #adopt(): Promise<void> {
    const { base, origin, retention, moments } = this.#header
    const { lineage, retaining } = this.#target.capabilities
    if (base !== TID_NONE)
      throw new StoreError(
        `${this.#target.name} is empty, and the stream begins after transaction ${formatTid(base)}: receive what precedes it first`,
        { code: 'other-base' },
      )
    await lineage?.setLineage(origin, moments)
    // Without one of the source's owner, all that was received is kept until the copy's owner says otherwise.
    await retaining?.setRetention(storedRetention(retention))
  }

  /** @throws StoreError */
  async #assertFits(): Promise<void> {
    const { origin, base, baseFingerprint, name } = this.#header
    const target = this.#target
    const { lineage, packing } = target.capabilities
    if ((await lineage?.origin()) !== origin)
      throw new StoreError(`${target.name} has another history than ${name}, the source of the stream`, {
        code: 'other-database',
      })
    if (base > this.#last.tid)
      throw new StoreError(
        `${target.name} ends with transaction ${formatTid(this.#last.tid)}, and the stream begins after ${formatTid(base)}`,
        { code: 'other-base' },
      )
    const found = base === TID_NONE ? undefined : await transactionUpTo(target, base)
    if (found?.tid === base && fingerprintOf(found) !== baseFingerprint) throw this.#diverged(base)
    const needed = (await lineage?.sourceMoments()) ?? this.#header.moments
    const kept = (await packing?.kept()) ?? ALL_MOMENTS
    if (!keepsAll(kept, needed, this.#last.tid))
      throw new StoreError(
        `${target.name} was packed, and lacks history that ${name} still had: receive everything into a new database`,
        { code: 'history-dropped' },
      )
  }

  /** Whether a transaction is to be stored. @throws StoreError if the histories differ. */
  #isToAdd(head: TransactionHead): boolean {
    const { tid, fingerprint } = this.#last
    if (head.tid === tid) {
      if (fingerprintOf(head) !== fingerprint) throw this.#diverged(tid)
      this.#isSame = true
    }
    if (head.tid <= tid) return false
    if (!this.#isSame) throw this.#diverged(tid)
    this.#writer.begin(head)
    return true
  }

  /** @throws StoreError if the histories differ. */
  async #end({ lastTid, fingerprint }: StreamEnd): Promise<void> {
    const { origin, isUpToPresent, moments } = this.#header
    const { tid } = this.#last
    if (lastTid <= tid && lastTid !== TID_NONE) {
      const found = await transactionUpTo(this.#target, lastTid)
      if (found?.tid === lastTid && fingerprintOf(found) !== fingerprint) throw this.#diverged(lastTid)
      const kept = (await this.#target.capabilities.packing?.kept()) ?? ALL_MOMENTS
      if (found?.tid !== lastTid && kept.from <= lastTid) throw this.#diverged(tid)
    }
    if (isUpToPresent && lastTid >= tid && !this.#isMerged)
      await this.#target.capabilities.lineage?.setLineage(origin, moments)
  }

  /** Keeps the moments that the source keeps, and those that the database had before. */
  async #keep(moments: KeptMoments): Promise<void> {
    const { packing } = this.#target.capabilities
    if (packing === undefined || (this.#moments !== undefined && isSameMoments(this.#moments, moments)))
      return
    this.#moments = moments
    const { tid } = this.#last
    const kept = await packing.kept()
    if (moments.from <= tid) return
    const earlier = [...kept.earlier, ...(await this.#ownMoments(kept)), ...moments.earlier]
    const merged = keptMoments(moments.from, earlier)
    // First, so that after a crash in between the database keeps more than it must.
    await this.#target.capabilities.lineage?.setLineage(this.#header.origin, merged)
    this.#isMerged = true
    if (!isSameMoments(merged, kept)) await packing.keep(merged)
  }

  /** The moments before the stream that are kept as a whole so far. @throws StoreError if there are too many. */
  async #ownMoments({ from }: KeptMoments): Promise<readonly Tid[]> {
    const own: Tid[] = []
    if (from > this.#last.tid) return own
    for await (const { tid } of this.#target.transactions({ upTo: this.#last.tid }))
      if (tid >= from) own.push(tid)
    if (own.length <= EARLIER_MOMENTS_MAX) return own
    const { name, moments } = this.#header
    throw new StoreError(
      `a pack of ${name} has dropped the moments between ${formatTid(this.#last.tid)}, where ${this.#target.name} ends, and ` +
        `${formatTid(moments.from)}: receive everything into a new database`,
      { code: 'history-dropped' },
    )
  }

  async #stored<T>(store: () => Promise<T>): Promise<T> {
    try {
      return await store()
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error
      throw new StoreError(
        `the stream shares bytes of object ${formatOid(error.oid)} of transaction ${formatTid(error.at)}, which ${this.#target.name} does not have`,
        { code: 'bytes-dropped', cause: error },
      )
    }
  }

  #diverged(tid: Tid): StoreError {
    return new StoreError(
      `${this.#target.name} has diverged: its transaction ${formatTid(tid)} is none of ${this.#header.name}`,
      { code: 'diverged' },
    )
  }
}

/** Whether every moment of `needed` up to a transaction is kept. */
function keepsAll(kept: KeptMoments, needed: KeptMoments, upTo: Tid): boolean {
  const isWhole = needed.from > upTo || kept.from <= needed.from
  const earlier = new Set(kept.earlier)
  const isThere = (moment: Tid): boolean => moment >= kept.from || earlier.has(moment)
  return isWhole && needed.earlier.every(moment => moment > upTo || isThere(moment))
}
