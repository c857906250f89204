/**
 * The entries of the intent log's file. Each begins at a page boundary, so that no entry is rewritten with a shared page.
 *
 * | in an entry | length | is                                                                                       |
 * |-------------|--------|------------------------------------------------------------------------------------------|
 * | 0           | 8      | XXH64 of everything after it, bytes included                                             |
 * | 8           | 8      | the transaction that it follows, little-endian like all numbers                          |
 * | 16          | 8      | the last transaction when it was written: the same, or the one before                    |
 * | 24          | 8      | a random number, the same for all entries of one process                                 |
 * | 32          | 4      | its number among the entries that follow the same transaction, from 0                    |
 * | 36          | 4      | if fields 8 and 16 differ, how many entries follow the transaction of field 16; else 0   |
 * | 40          | 4      | the number of its bytes                                                                  |
 * | 44          | 4      | 0                                                                                        |
 * | 48          | 16     | the database's id                                                                        |
 * | 64          |        | its bytes; of an encrypted database, sealed (encryption/intent-seal.ts)                  |
 *
 * An entry that is written while a transaction is being committed follows that transaction: it has changes that are not in it. If
 * the transaction is the last one after a crash, only the entries that follow it are valid; if it is missing, all entries
 * that follow its predecessor are, and then those. Its tid is not given again, not even by a clock that was set back: a transaction that
 * has these changes would make the entries valid again.
 */
import type { FoundIntents } from '../../capabilities.ts'
import type { IntentSeal } from '../../encryption/intent-seal.ts'
import { xxh64 } from '../../checksum.ts'
import { CannotOpenError } from '../../errors.ts'
import { tid as toTid, type Tid } from '../../ids.ts'

export const PAGE_BYTES = 4096

const BASE_OFFSET = 8
const LAST_OFFSET = 16
const NONCE_OFFSET = 24
const INDEX_OFFSET = 32
const EARLIER_OFFSET = 36
const LENGTH_OFFSET = 40
const ID_OFFSET = 48
export const HEADER_BYTES = 64

export interface EntryHeader {
  /** The transaction that it follows. */
  readonly base: Tid
  /** The last transaction when it was written. */
  readonly last: Tid
  readonly nonce: bigint
  /** Its number among the entries that follow the same transaction. */
  readonly index: number
  /** How many entries follow `last`, if that is not `base`; else 0. */
  readonly earlier: number
}

export interface FoundEntry extends EntryHeader {
  readonly bytes: Uint8Array
  /** Its header from offset 8 on, which is authenticated if the bytes are encrypted. */
  readonly header: Uint8Array
  /** The start of the next page. */
  readonly end: number
}

/** The number of pages of an entry. @param length that of its bytes as they are stored. */
export const pagesOf = (length: number): number => Math.ceil((HEADER_BYTES + length) / PAGE_BYTES)

/**
 * Encodes an entry. @param into must be long enough. @param seal undefined for a database that is not encrypted.
 * @returns the part of it that is to be written.
 */
export function encodeEntry(
  into: Buffer,
  id: string,
  header: EntryHeader,
  bytes: Uint8Array,
  seal: IntentSeal | undefined,
): Buffer {
  const length = bytes.length + (seal?.extraBytes ?? 0)
  const entry = into.subarray(0, HEADER_BYTES + length)
  entry.writeBigUInt64LE(header.base, BASE_OFFSET)
  entry.writeBigUInt64LE(header.last, LAST_OFFSET)
  entry.writeBigUInt64LE(header.nonce, NONCE_OFFSET)
  entry.writeUInt32LE(header.index, INDEX_OFFSET)
  entry.writeUInt32LE(header.earlier, EARLIER_OFFSET)
  entry.writeUInt32LE(length, LENGTH_OFFSET)
  entry.writeUInt32LE(0, LENGTH_OFFSET + 4)
  entry.write(id, ID_OFFSET, 'hex')
  const body = entry.subarray(HEADER_BYTES)
  if (seal === undefined) body.set(bytes)
  else seal.seal(header.nonce, entry.subarray(BASE_OFFSET, HEADER_BYTES), bytes, body)
  entry.writeBigUInt64LE(xxh64(entry.subarray(BASE_OFFSET)))
  return entry
}

const FORMER_LENGTH_OFFSET = 28
const FORMER_ID_OFFSET = 32
const FORMER_HEADER_BYTES = 48

/** Whether a file's content has a valid entry as a database of format 2 has it. */
function hasFormerEntry(file: Buffer, id: string, last: Tid): boolean {
  if (file.length < FORMER_HEADER_BYTES || file.readBigUInt64LE(BASE_OFFSET) !== last) return false
  if (file.toString('hex', FORMER_ID_OFFSET, FORMER_HEADER_BYTES) !== id) return false
  const end = FORMER_HEADER_BYTES + file.readUInt32LE(FORMER_LENGTH_OFFSET)
  return end <= file.length && xxh64(file.subarray(BASE_OFFSET, end)) === file.readBigUInt64LE(0)
}

/**
 * The entries in a file's content that are valid after transaction `last`, in order, up to one that is damaged or incomplete.
 * @param seal undefined for a database that is not encrypted, and if the entries are only counted. @throws CannotOpenError
 */
export function entriesAfter(
  file: Buffer,
  id: string,
  last: Tid,
  seal: IntentSeal | undefined,
): FoundIntents {
  if (hasFormerEntry(file, id, last))
    throw new CannotOpenError(
      'synced changes in the intent log were written by an older version of zblkfs: mount the database once with that version',
      { code: 'older-format' },
    )
  const found = allEntries(file, id, last)
  const committed = inOrder(found.filter(({ base }) => base === last))
  const [first] = committed
  // A transaction that was not committed has the next place: at most one was being committed.
  const beside = found.filter(
    ({ base, nonce, earlier }) =>
      base !== last && earlier === committed.length && (first === undefined || nonce === first.nonce),
  )
  const stored = [...committed, ...inOrder(beside)]
  const entries = seal === undefined ? stored : openedEntries(stored, seal)
  const nonce = entries[0]?.nonce
  const ofThem = nonce === undefined ? found : found.filter(entry => entry.nonce === nonce)
  let uncommitted = last
  for (const { base } of found) if (base > uncommitted) uncommitted = base
  return {
    entries: entries.map(({ bytes }) => bytes),
    isDamaged: ofThem.length > entries.length,
    ...(uncommitted > last && { uncommitted }),
  }
}

/** Entries decrypted, up to one that was not written with the key. */
function openedEntries(stored: readonly FoundEntry[], seal: IntentSeal): readonly FoundEntry[] {
  const entries: FoundEntry[] = []
  for (const entry of stored) {
    const bytes = seal.open(entry.nonce, entry.header, entry.bytes)
    if (bytes === undefined) break
    entries.push({ ...entry, bytes })
  }
  return entries
}

/** Those numbered from 0 on without a gap, of the process that wrote the first one found. */
function inOrder(found: readonly FoundEntry[]): readonly FoundEntry[] {
  const first = found.find(({ index }) => index === 0)
  if (first === undefined) return []
  const byIndex = new Map<number, FoundEntry>()
  for (const entry of found)
    if (entry.nonce === first.nonce && entry.base === first.base) byIndex.set(entry.index, entry)
  const ordered: FoundEntry[] = []
  for (let entry = byIndex.get(0); entry !== undefined; entry = byIndex.get(ordered.length))
    ordered.push(entry)
  return ordered
}

/** All whole entries that follow transaction `last`, or one that was being committed after it. */
function allEntries(file: Buffer, id: string, last: Tid): readonly FoundEntry[] {
  const found: FoundEntry[] = []
  for (let at = 0; at < file.length;) {
    const entry = entryAt(file, at, id, last)
    if (entry !== undefined) found.push(entry)
    at = entry?.end ?? at + PAGE_BYTES
  }
  return found
}

function entryAt(file: Buffer, at: number, id: string, last: Tid): FoundEntry | undefined {
  const header = file.subarray(at, at + HEADER_BYTES)
  if (header.length < HEADER_BYTES) return undefined
  const [base, before] = [header.readBigUInt64LE(BASE_OFFSET), header.readBigUInt64LE(LAST_OFFSET)]
  if (base !== last && before !== last) return undefined
  if (header.toString('hex', ID_OFFSET, HEADER_BYTES) !== id) return undefined
  const length = HEADER_BYTES + header.readUInt32LE(LENGTH_OFFSET)
  const entry = file.subarray(at, at + length)
  if (entry.length < length || xxh64(entry.subarray(BASE_OFFSET)) !== entry.readBigUInt64LE(0))
    return undefined
  return {
    base: toTid(base),
    last: toTid(before),
    nonce: entry.readBigUInt64LE(NONCE_OFFSET),
    index: entry.readUInt32LE(INDEX_OFFSET),
    earlier: entry.readUInt32LE(EARLIER_OFFSET),
    bytes: entry.subarray(HEADER_BYTES),
    header: entry.subarray(BASE_OFFSET, HEADER_BYTES),
    end: at + Math.ceil(length / PAGE_BYTES) * PAGE_BYTES,
  }
}
