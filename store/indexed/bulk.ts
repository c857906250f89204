/**
 * The contract of a Bulk: an append-only sequence of bytes, for data that is too long for a row of the index.
 *
 * - A place is a position and a length. Positions are safe integers in {@link UNIT_BYTES}; none is used twice.
 * - Appended bytes become readable when the transaction whose rows point to them is committed. Bytes after the end that
 *   the last transaction records belong to no transaction; `begin` discards them.
 * - Every unit is verified when it is read (frame.ts).
 * - One writer and any number of concurrent readers.
 *
 * A method may return its result or a promise: a local Bulk costs no turn of the event loop.
 */
import type { Awaitable } from '../awaitable.ts'
import type { Space } from '../capabilities.ts'

/** Bytes of a Bulk are missing or differ from what was written. The caller knows which record they belong to. */
export class BulkDamageError extends Error {
  override readonly name = 'BulkDamageError'
}

/** Bytes `[lo, hi)` of a Bulk. */
export type BulkRange = readonly [lo: number, hi: number]

/** Bytes `[lo, hi)` that cannot be read. */
export interface BulkGap {
  readonly lo: number
  readonly hi: number
  readonly reason: string
}

/** A read of `[pos, pos + into.length)`. */
export interface BulkRead {
  readonly pos: number
  /** Receives the bytes. */
  readonly into: Uint8Array
}

export interface BulkReader {
  /**
   * Fills the memory of every read. The call is one batch: reads may be reordered and merged. If it fails, the content of
   * the memory is undefined.
   * @throws BulkDamageError if any read fails; reading one at a time shows which.
   */
  read(reads: readonly BulkRead[]): Awaitable<void>
}

/** The part of a Bulk for full scans: packs, checks, measuring. */
export interface BulkScan extends BulkReader {
  /** The parts that can be removed as a whole, ascending. They cover every place. */
  segments(): Awaitable<readonly BulkRange[]>

  /** Whether a range of one segment takes any space in its storage. */
  isAllocated(range: BulkRange): Awaitable<boolean>

  /** Bytes of storage that it takes, excluding released ranges. */
  bytes(): Awaitable<number>

  /** As in {@link Space.framed}, of a Bulk that can store frames. */
  framed?(): Awaitable<Space['framed']>

  /**
   * Which of the whole units of a range of one group (frame.ts) cannot be read, ascending. `verifyByReading` (check/verify.ts) does this with {@link BulkReader.read} alone.
   * @param everyByte compares every unit with its checksum. Otherwise evidence of presence suffices: that
   *   the last unit can be read, or that a remote object has its length.
   */
  verify(range: BulkRange, everyByte: boolean): Awaitable<readonly BulkGap[]>
}

export interface BulkWriter {
  /** The position of the next unit. */
  readonly end: number

  /** Begins to append at `end`, and discards everything after it. No write may be in progress ({@link BulkWriter.settle}). */
  begin(end: number): Awaitable<void>

  /** Appends bytes. Those of all calls before a {@link BulkWriter.sync} must be whole units in total. */
  append(parts: readonly Uint8Array[]): Awaitable<void>

  /** Waits until all appended bytes are durable. */
  sync(): Awaitable<void>

  /** Waits until no write is in progress, whether the last one succeeded or not. Never throws. */
  settle(): Awaitable<void>

  /**
   * Releases ranges of whole units, each in one segment; returns the number of bytes released. Called between
   * transactions, for ranges to which no row points any more. A range that covers a segment removes it. Reads of
   * released bytes fail with a BulkDamageError, or find zeros that fail their checksums.
   * @param end the end that the last transaction names; its segment is not removed.
   */
  release(ranges: readonly BulkRange[], end: number): Awaitable<number>
}
