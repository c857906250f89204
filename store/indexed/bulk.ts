/**
 * The contract of a Bulk: a sequence of bytes that only grows at its end, for what is too long for a row of the index.
 *
 * - A place is a position and a length. Positions are safe integers in {@link UNIT_BYTES}; one is never used again.
 * - Appended bytes become readable when the transaction whose rows point to them is committed. Bytes behind the end that the last
 *   transaction names belong to no transaction; `begin` discards them.
 * - Every unit is verified when it is read (frame.ts).
 * - One writer; any number of readers beside it.
 *
 * A method may answer at once or with a promise: a local Bulk costs no turn of the event loop.
 */

/** Bytes of a Bulk are missing or not what was written. The caller knows whose bytes they are. */
export class BulkDamageError extends Error {
  override readonly name = 'BulkDamageError'
}

/** A read of `[pos, pos + into.length)`. */
export interface BulkRead {
  readonly pos: number
  /** Receives the bytes. */
  readonly into: Uint8Array
}

export interface BulkReader {
  /**
   * Fills the memory of every read. The call is one batch: reads may be reordered and merged. When it fails, the memory
   * holds anything.
   * @throws BulkDamageError where any of them cannot be read; reading one at a time tells which.
   */
  read(reads: readonly BulkRead[]): void | Promise<void>
}

export interface BulkWriter {
  /** The position of the next unit. */
  readonly end: number

  /** Begins to append at `end`, and discards what lies behind. No write may be under way ({@link BulkWriter.settle}). */
  begin(end: number): void | Promise<void>

  /** Appends bytes. Those of all calls before a {@link BulkWriter.sync} must be whole units in total. */
  append(parts: readonly Uint8Array[]): void | Promise<void>

  /** All appended bytes are durable when this is done. */
  sync(): void | Promise<void>

  /** No write is under way when this is done, whether the last one succeeded or not. Never throws. */
  settle(): void | Promise<void>
}
