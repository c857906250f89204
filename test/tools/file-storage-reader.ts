/**
 * A small reader of ZODB's FileStorage for tests: whole files in memory, read from the front. It shares no code
 * with the store that it is used to check. Source of the format: the head of ZODB/FileStorage/format.py.
 */
import { readFileSync } from 'node:fs'

export interface FileStorageRecord {
  readonly oid: bigint
  readonly tid: bigint
  /** The record, also where the file has a pointer back to it; null where the object was un-created. */
  readonly data: Buffer | null
}

export interface FileStorageTransaction {
  readonly tid: bigint
  readonly status: string
  readonly user: Buffer
  readonly description: Buffer
  readonly extension: Buffer
  readonly records: readonly FileStorageRecord[]
}

const MAGICS = ['FS21', 'FS30']
const TRANSACTION_HEAD = 23
const RECORD_HEAD = 42

/** The transactions of a file, oldest first. @throws Error at the first fault */
export function* readFileStorage(path: string): Generator<FileStorageTransaction> {
  const file = readFileSync(path)
  if (!MAGICS.includes(file.toString('latin1', 0, 4))) throw new Error(`${path} is not a FileStorage`)
  for (let pos = 4; pos < file.length;) {
    const length = number(file, pos + 8)
    const end = pos + length
    if (number(file, end) !== length) throw new Error(`${path}: the transaction at ${pos} has two lengths`)
    const status = String.fromCharCode(file.readUInt8(pos + 16))
    const user = pos + TRANSACTION_HEAD
    const description = user + file.readUInt16BE(pos + 17)
    const extension = description + file.readUInt16BE(pos + 19)
    const first = extension + file.readUInt16BE(pos + 21)
    if (status === 'c') return
    if (status !== 'u')
      yield {
        tid: file.readBigUInt64BE(pos),
        status,
        user: file.subarray(user, description),
        description: file.subarray(description, extension),
        extension: file.subarray(extension, first),
        records: [...readRecords(file, first, end)],
      }
    pos = end + 8
  }
}

/** Every record of a file that has bytes of its own or shares another's. */
export function* recordsOf(path: string): Generator<FileStorageRecord & { readonly data: Buffer }> {
  for (const { records } of readFileStorage(path))
    for (const { oid, tid, data } of records) if (data !== null) yield { oid, tid, data }
}

function* readRecords(file: Buffer, start: number, end: number): Generator<FileStorageRecord> {
  for (let pos = start; pos < end;) {
    const length = number(file, pos + 34)
    yield { oid: file.readBigUInt64BE(pos), tid: file.readBigUInt64BE(pos + 8), data: dataAt(file, pos) }
    pos += RECORD_HEAD + (length === 0 ? 8 : length)
    if (pos > end) throw new Error(`a record goes beyond its transaction, which ends at ${end}`)
  }
}

function dataAt(file: Buffer, pos: number): Buffer | null {
  const length = number(file, pos + 34)
  const data = pos + RECORD_HEAD
  if (length > 0) return file.subarray(data, data + length)
  const back = number(file, data)
  if (back >= pos) throw new Error(`the record at ${pos} points forward`)
  return back === 0 ? null : dataAt(file, back)
}

const number = (file: Buffer, pos: number): number => Number(file.readBigUInt64BE(pos))
