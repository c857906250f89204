/**
 * Compresses the frames of a writer, in the order in which they are gathered. Beside a writer of much data a second thread compresses
 * half of the frames, while the writer compresses the others or writes. No frame waits for that thread to start, and without a free
 * processor nothing is lost, as the writer compresses whatever the thread has not begun.
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { Compression } from '../compression.ts'
import { StoreError } from '../errors.ts'
import { FRAME_BYTES } from '../indexed/frame-codec.ts'
import { FrameRing, SLOTS } from '../indexed/frame-ring.ts'
import { siblingModule } from '../sibling-module.ts'

const THREAD_FILE = siblingModule('compress-thread', import.meta.url)

/** Number of frames after which the thread is started: 8 MiB. */
const FRAMES_BEFORE_THREAD = (8 << 20) / FRAME_BYTES

/** Minimum number of waiting frames for which the thread is woken. */
const FRAMES_TO_WAKE = 4

/** Time without frames after which the thread is ended. */
const IDLE_MS = 30_000

/** Maximum wait for a frame, which takes microseconds; but a machine may be suspended for seconds. */
const TIMEOUT_MS = 60_000

/** A frame that was gathered. */
export interface GatheredFrame {
  readonly pos: number
  readonly units: Buffer
  /** Empty if they are stored as they are. */
  readonly packed: Buffer
}

export class FrameCompressor {
  readonly #ring: FrameRing
  readonly #capacity: number
  /** The frames that are submitted and not taken. */
  readonly #pending: { readonly pos: number; readonly unitBytes: number }[] = []
  /** The number of frames submitted ever. */
  #submitted = 0
  #thread: Worker | undefined
  #idle: NodeJS.Timeout | undefined

  constructor(compression: Compression) {
    this.#ring = new FrameRing(compression)
    this.#capacity = compression.method === 'off' ? 1 : SLOTS - 1
  }

  /** Receives the units of the next frame. */
  get units(): Buffer {
    return this.#ring.units(this.#submitted)
  }

  /** The number of frames that are submitted and not taken. */
  get length(): number {
    return this.#pending.length
  }

  /** Whether frames must be taken before the next one is submitted. */
  get isFull(): boolean {
    return this.#pending.length >= this.#capacity
  }

  /** Ends a frame. */
  submit(pos: number, unitBytes: number): void {
    this.#ring.submit(this.#submitted++, unitBytes)
    this.#pending.push({ pos, unitBytes })
    if (this.#pending.length < FRAMES_TO_WAKE) return
    this.#ring.wake(() => this.#thread?.postMessage('work', []))
    if (this.#submitted >= FRAMES_BEFORE_THREAD && this.#thread === undefined) this.#start()
  }

  /** Takes the first frame, in memory that is valid until the next call. @throws StoreError */
  take(): GatheredFrame {
    const slot = this.#submitted - this.#pending.length
    const frame = this.#pending.shift()
    if (frame === undefined) throw new StoreError('no frame was gathered')
    const packed = this.#ring.take(slot, TIMEOUT_MS)
    if (packed === undefined) throw new StoreError('the thread that compresses does not answer')
    return { pos: frame.pos, units: this.#ring.units(slot).subarray(0, frame.unitBytes), packed }
  }

  /** Drops the frames that were not taken. */
  clear(): void {
    while (this.#pending.length > 0) this.take()
  }

  /** Ends the thread. */
  async close(): Promise<void> {
    clearInterval(this.#idle)
    const thread = this.#thread
    if (thread === undefined) return
    const ended = new Promise(resolve => thread.once('exit', resolve))
    thread.ref()
    thread.postMessage('end', [])
    await ended
  }

  #start(): void {
    if (availableParallelism() < 2) return
    let submitted = this.#submitted
    this.#idle = setInterval(() => {
      if (submitted === this.#submitted) void this.close()
      submitted = this.#submitted
    }, IDLE_MS).unref()
    const thread = new Worker(THREAD_FILE, {
      workerData: this.#ring.shared,
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    })
    thread.unref()
    const ended = (): void => {
      if (this.#thread !== thread) return
      this.#thread = undefined
      clearInterval(this.#idle)
    }
    // The writer then compresses alone.
    thread.on('error', ended).on('exit', ended)
    this.#thread = thread
  }
}
