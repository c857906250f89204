/**
 * A write-ahead log for bytes that must be durable before their transaction. Its file (intent-file.ts) is a ring of entries
 * (entries.ts): a new entry takes the place of those that a transaction has voided.
 *
 *     |  void  | follow the last transaction | follow the one being committed |  void  |
 *              ^ becomes void with the commit                                 ^ the next entry
 *
 * Entries are valid as long as the transaction that they follow is the last one, or is about to be: the commit of the next one
 * voids them without touching them. When no entry is valid, the next one is written at the beginning.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, fstatSync } from 'node:fs'
import { openSync } from '../../os-files.ts'
import { constants } from 'node:fs/promises'
import type { FoundIntents, IntentEntries } from '../../capabilities.ts'
import type { IntentSeal } from '../../encryption/intent-seal.ts'
import { StoreError } from '../../errors.ts'
import type { Tid } from '../../ids.ts'
import { O_PATH } from '../../o-path.ts'
import { alignedMemory } from '../../segment-files/aligned-memory.ts'
import type { DatabasePlace } from '../open/database-place.ts'
import { encodeEntry, PAGE_BYTES, pagesOf } from './entries.ts'
import { EntryWriter } from './entry-writer.ts'
import { INTENTS_BYTES, openIntentFile, readIntents } from './intent-file.ts'

const PAGES = INTENTS_BYTES / PAGE_BYTES
const SIDE_FILES_CHECK_MS = 1000

/** The entries that follow one transaction; in pages, as if the file had no end. */
interface Run {
  readonly base: Tid
  readonly start: number
  end: number
  count: number
}

export class IntentLog implements IntentEntries {
  readonly #place: DatabasePlace
  readonly #id: string
  readonly #lastTid: () => Tid
  readonly #seal: IntentSeal | undefined
  /** The WAL, whose transactions the entries follow. */
  readonly #wal: number
  readonly #nonce = randomBytes(8).readBigUInt64LE()
  #file: EntryWriter | undefined
  /** Valid entries: those that follow the last transaction, and those that follow the one being committed. */
  #runs: Run[] = []
  /** The page of the next entry. */
  #end = 0
  /** An entry that follows this transaction is missing: none may follow it or an earlier one any more. */
  #brokenAfter: Tid | undefined
  #isAdding = false
  /** Of the entry that is being added. */
  #memory: Buffer = Buffer.alloc(0)
  #sideFilesCheckedMs = -Infinity

  /**
   * @param id the database's id. @param lastTid returns the last transaction.
   * @param seal undefined for a database that is not encrypted.
   */
  constructor(place: DatabasePlace, id: string, lastTid: () => Tid, seal: IntentSeal | undefined) {
    this.#seal = seal
    this.#place = place
    this.#wal = openSync(`${place.held}-wal`, O_PATH | constants.O_NOFOLLOW)
    this.#id = id
    this.#lastTid = lastTid
  }

  // oxlint-disable-next-line require-await -- errors must reject, not throw
  async read(): Promise<FoundIntents> {
    return readIntents(this.#place.held, this.#id, this.#lastTid(), this.#seal)
  }

  /** Whether half of the file is in use. */
  get needsTransaction(): boolean {
    const [first] = this.#runs
    return first !== undefined && 2 * (this.#end - first.start) >= PAGES
  }

  async add(bytes: Uint8Array, follows = this.#lastTid()): Promise<boolean> {
    if (this.#isAdding) throw new StoreError('an entry of the intent log is being added already')
    this.#isAdding = true
    try {
      return await this.#add(bytes, follows)
    } finally {
      this.#isAdding = false
    }
  }

  /** No call of {@link add} may be in progress. */
  async close(): Promise<void> {
    closeSync(this.#wal)
    await this.#file?.close()
    this.#file = undefined
  }

  async #add(bytes: Uint8Array, base: Tid): Promise<boolean> {
    const last = this.#lastTid()
    // The transaction that has these changes is on disk.
    if (base < last) return true
    if (this.#brokenAfter !== undefined && last <= this.#brokenAfter) return false
    this.#runs = this.#runs.filter(run => run.base >= last)
    if (this.#runs.length === 0) this.#end = 0
    const start = this.#placeFor(this.#pagesOf(bytes))
    if (start === undefined) return this.#fail(base)
    const run = this.#runOf(base, start)
    const earlier = base === last ? 0 : (this.#runs.find(one => one.base === last)?.count ?? 0)
    try {
      this.#file ??= new EntryWriter(await openIntentFile(this.#place, this.#hasStale(last)))
      this.#assertThere(this.#file)
      const header = { base, last, nonce: this.#nonce, index: run.count, earlier }
      const pages = this.#memoryFor(bytes)
      const { length } = encodeEntry(pages, this.#id, header, bytes, this.#seal)
      await this.#file.write(pages.fill(0, length), (start % PAGES) * PAGE_BYTES)
    } catch {
      // A full or broken disk: the next transaction will report it. No entry may follow this partial one.
      return this.#fail(base)
    }
    run.count++
    run.end = start + this.#pagesOf(bytes)
    this.#end = run.end
    return true
  }

  #pagesOf({ length }: Uint8Array): number {
    return pagesOf(length + (this.#seal?.extraBytes ?? 0))
  }

  #fail(base: Tid): false {
    this.#brokenAfter = base
    return false
  }

  /** The first of consecutive pages that have no valid entry; undefined if there are none. */
  #placeFor(pages: number): number | undefined {
    const left = PAGES - (this.#end % PAGES)
    const start = left < pages ? this.#end + left : this.#end
    const used = this.#runs[0]?.start ?? start
    return start + pages - used > PAGES ? undefined : start
  }

  #runOf(base: Tid, start: number): Run {
    const last = this.#runs.at(-1)
    if (last?.base === base) return last
    const run: Run = { base, start, end: start, count: 0 }
    this.#runs.push(run)
    return run
  }

  /** Whether the file has entries of an earlier process that are still valid, though their reader adds others. */
  #hasStale(last: Tid): boolean {
    const { entries, isDamaged } = readIntents(this.#place.held, this.#id, last)
    return entries.length > 0 || isDamaged
  }

  /**
   * Bytes in a file that was removed, or next to a database that was, can never be read again. The database is checked for
   * each entry, the side files once per {@link SIDE_FILES_CHECK_MS}: fstat of a file makes the kernel record a new time with
   * its next write, which adds 40 us to a synced one.
   */
  #assertThere({ fd }: EntryWriter): void {
    // The next transaction gives this file the database's new name.
    if (!this.#place.isNamed) throw new Error('the database was renamed')
    const nowMs = performance.now()
    const isDue = nowMs - this.#sideFilesCheckedMs >= SIDE_FILES_CHECK_MS
    if (isDue) this.#sideFilesCheckedMs = nowMs
    for (const file of isDue ? [this.#wal, fd] : [])
      if (fstatSync(file).nlink === 0) throw new Error('it was removed')
  }

  /** The pages of an entry. One is added at a time, so all share memory. */
  #memoryFor(bytes: Uint8Array): Buffer {
    const length = this.#pagesOf(bytes) * PAGE_BYTES
    if (this.#memory.length < length) this.#memory = alignedMemory(length)
    return this.#memory.subarray(0, length)
  }
}
