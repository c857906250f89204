/** What the writers of both layouts of a segment have in common: which segments were written to, and the direct write in progress. */
import { fdatasyncSync, write as writeWithCallback, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import type { BulkRange } from '../indexed/bulk.ts'
import { isInvalidArgument } from './file-ranges.ts'
import type { LogFiles } from './log-files.ts'
import { SEGMENT_BYTES, segmentOf } from './log-layout.ts'
import { releaseRanges } from './release.ts'
import type { SegmentLayout } from './segment-header.ts'

const write = promisify(writeWithCallback)

export abstract class SegmentWriter {
  protected readonly files: LogFiles
  /** Settles when the direct write in progress has ended. */
  #underway: Promise<void> | undefined
  /** The segments written to since the last sync. */
  readonly #touched = new Set<number>()
  #hasNewNames = false

  constructor(files: LogFiles) {
    this.files = files
  }

  /** Resolves when no write is in progress, whether the last one succeeded or not. */
  async settle(): Promise<void> {
    await this.#underway?.catch(() => undefined)
    this.#underway = undefined
  }

  release(ranges: readonly BulkRange[], end: number): number {
    return releaseRanges(this.files, ranges, end)
  }

  protected get isTouched(): boolean {
    return this.#touched.size > 0
  }

  protected touch(index: number): void {
    this.#touched.add(index)
  }

  /** Creates a segment to write to. */
  protected create(index: number, layout: SegmentLayout): void {
    this.#hasNewNames = true
    this.files.create(index, layout)
    this.#touched.add(index)
  }

  /** Where to append after `end`: a segment of the other layout is not appended to. */
  protected positionFor(layout: SegmentLayout, end: number): number {
    const within = end % SEGMENT_BYTES
    if (within === 0 || this.files.layout(segmentOf(end)) === layout) return end
    return end - within + SEGMENT_BYTES
  }

  /** Forgets what was written: {@link LogFiles.cut} removes it. */
  protected forgetTouched(): void {
    this.#touched.clear()
  }

  /** Waits for the direct write in progress. @throws its error. */
  protected async finishWrite(): Promise<void> {
    await this.#underway
    this.#underway = undefined
  }

  /** Makes everything durable that was written. No write may be in progress. */
  protected syncTouched(): void {
    for (const index of this.#touched) {
      fdatasyncSync(this.files.segment(index))
      this.files.assertSegmentThere(index)
    }
    if (this.#hasNewNames) this.files.syncNames()
    this.#hasNewNames = false
    this.#touched.clear()
  }

  /** Starts a direct write; none may be in progress. {@link SegmentWriter.finishWrite} reports its error. */
  protected startDirect(fd: number, index: number, bytes: Uint8Array, offset: number): void {
    this.#underway = this.#writeDirect(fd, index, bytes, offset)
    this.#underway.catch(() => undefined)
  }

  async #writeDirect(fd: number, index: number, bytes: Uint8Array, offset: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.length;)
        done += (await write(fd, bytes, done, bytes.length - done, offset + done)).bytesWritten
    } catch (error) {
      if (!isInvalidArgument(error)) throw error
      this.files.disableDirect()
      writeWhole(this.files.segment(index), bytes, offset)
    }
  }
}

export function writeWhole(fd: number, bytes: Uint8Array, offset: number): void {
  // A disk that runs full accepts part of a write and rejects the next.
  for (let done = 0; done < bytes.length;)
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done)
}
