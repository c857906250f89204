/**
 * Fetches frames of segments: from memory, from the local disk, else from the server, with one request for frames that are
 * adjacent in an object. Frames that are being fetched are not requested twice. Shared by all readers of a store.
 */
import { LRUCache } from 'lru-cache'
import { recordShortLived } from '../gc-pacing.ts'
import type { SegmentOpener } from '../encryption/segment-seal.ts'
import type { DiskCache } from './disk-cache.ts'
import type { S3Client } from './client.ts'
import { segmentKey, StoredFrame, type Segment } from './segment.ts'

/** Maximum bytes of frames in memory, those that were read ahead included. */
const MEMORY_BYTES = 64 << 20

/** Maximum length of a request: a server sends several at once faster than one after another, but each request costs it time. */
const REQUEST_BYTES = 4 << 20

export interface WantedFrame {
  readonly segment: Segment
  readonly index: number
}

export class FrameFetcher {
  readonly #client: Pick<S3Client, 'get'>
  readonly #disk: DiskCache | undefined
  readonly #opener: SegmentOpener | undefined
  readonly #memory = new LRUCache<string, StoredFrame>({
    maxSize: MEMORY_BYTES,
    sizeCalculation: ({ stored, units }) =>
      units.buffer === stored.buffer ? stored.length : stored.length + units.length,
  })
  readonly #underway = new Map<string, Promise<StoredFrame>>()

  /** @param opener undefined for a database that is not encrypted. */
  constructor(client: Pick<S3Client, 'get'>, disk: DiskCache | undefined, opener?: SegmentOpener) {
    this.#opener = opener
    this.#client = client
    this.#disk = disk
  }

  /** Frames in the order wanted; units may be damaged. @throws ObjectMissingError, StoreError */
  async fetch(wanted: readonly WantedFrame[]): Promise<readonly StoredFrame[]> {
    const found = wanted.map(frame => this.#recall(frame))
    const missing = wanted.filter((_, index) => found[index] === undefined)
    if (missing.length > 0) this.#request(missing)
    const frames: StoredFrame[] = []
    for (const [index, frame] of wanted.entries())
      frames.push(
        await (found[index] ??
          this.#underway.get(keyOf(frame)) ??
          this.#memory.get(keyOf(frame)) ??
          this.#fetchOne(frame)),
      )
    return frames
  }

  /** Starts to fetch frames that will be wanted soon. */
  prefetch(wanted: readonly WantedFrame[]): void {
    const missing = wanted.filter(
      frame =>
        !this.#memory.has(keyOf(frame)) &&
        !this.#underway.has(keyOf(frame)) &&
        this.#disk?.has(frame) !== true,
    )
    this.#request(missing)
  }

  /** Reads frames from the server, whatever is cached. @throws as {@link FrameFetcher.fetch} */
  async fetchUncached(wanted: readonly WantedFrame[]): Promise<readonly StoredFrame[]> {
    return (await Promise.all(runsOf(wanted).map(run => this.#get(run)))).flat()
  }

  #recall(frame: WantedFrame): StoredFrame | Promise<StoredFrame> | undefined {
    const key = keyOf(frame)
    const held = this.#memory.get(key) ?? this.#underway.get(key)
    if (held !== undefined) return held
    const stored = this.#disk?.get(frame)
    const entry = frame.segment.frames.at(frame.index)
    if (stored?.length !== entry.bytes) return undefined
    const read = new StoredFrame(entry, stored, true, frame.segment, this.#opener)
    if (!read.isIntact) return undefined
    this.#memory.set(key, read)
    return read
  }

  async #fetchOne(frame: WantedFrame): Promise<StoredFrame> {
    const [found] = await this.fetchUncached([frame])
    if (found === undefined) throw new RangeError('a frame was not fetched')
    return found
  }

  #request(wanted: readonly WantedFrame[]): void {
    for (const run of runsOf(wanted)) {
      const getting = this.#get(run)
      for (const [index, frame] of run.entries()) {
        const key = keyOf(frame)
        const one = getting.then(frames => this.#keep(key, frame, frames[index]))
        this.#underway.set(key, one)
        // Frames that were read ahead may not be awaited.
        one.catch(() => undefined).finally(() => this.#underway.delete(key))
      }
    }
  }

  #keep(key: string, wanted: WantedFrame, frame: StoredFrame | undefined): StoredFrame {
    if (frame === undefined) throw new RangeError('a frame was not fetched')
    if (frame.isIntact) {
      this.#memory.set(key, frame)
      this.#disk?.put(wanted, frame.stored)
    }
    return frame
  }

  async #get(run: readonly WantedFrame[]): Promise<readonly StoredFrame[]> {
    const [first] = run
    if (first === undefined) return []
    const entries = run.map(({ segment, index }) => segment.frames.at(index))
    const offset = entries[0]?.offset ?? 0
    const length = entries.reduce((sum, { bytes }) => sum + bytes, 0)
    const bytes = await this.#client.get(segmentKey(first.segment), offset, length)
    recordShortLived(length)
    return entries.map(entry => {
      const at = entry.offset - offset
      // A copy, so that a frame in memory does not keep its neighbours.
      const stored = run.length === 1 ? bytes : Buffer.from(bytes.subarray(at, at + entry.bytes))
      return new StoredFrame(entry, stored, false, first.segment, this.#opener)
    })
  }
}

const keyOf = ({ segment, index }: WantedFrame): string => `${segmentKey(segment)}/${index}`

/** Groups frames that are adjacent in an object, up to {@link REQUEST_BYTES}. */
function runsOf(wanted: readonly WantedFrame[]): readonly (readonly WantedFrame[])[] {
  const runs: WantedFrame[][] = []
  let end = 0
  let bytes = 0
  for (const frame of wanted) {
    const entry = frame.segment.frames.at(frame.index)
    const last = runs.at(-1)
    const isAdjacent =
      last?.[0] !== undefined && isSame(last[0].segment, frame.segment) && entry.offset === end
    if (isAdjacent && bytes + entry.bytes <= REQUEST_BYTES) last.push(frame)
    else {
      runs.push([frame])
      bytes = 0
    }
    bytes += entry.bytes
    end = entry.offset + entry.bytes
  }
  return runs
}

const isSame = (a: Segment, b: Segment): boolean => a.epoch === b.epoch && a.counter === b.counter
