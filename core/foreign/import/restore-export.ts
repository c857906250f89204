/**
 * Restores an export: a FileStorage with a zblkfs filesystem becomes a database again, with identical transactions,
 * records and oids. Afterwards all records are compared.
 */
import { rmSync, writeFileSync } from '../../../store/os-files.ts'
import { isSameState } from '../../copy/same-state.ts'
import { PersistentMapping } from '../../objects/persistent-mapping.ts'
import { Connection } from '../../objects/connection.ts'
import { readingForeign } from '../damage.ts'
import { classOfRecord, dataPosition, ZBLK0, ZDATA } from '../../objects/record.ts'
import { CannotOpenError } from '../../../store/errors.ts'
import { formatOid, formatTid, tid as tidOf, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import type { ObjectChange, RecordSource } from '../../../store/changes.ts'
import type { Revision, Store, WritableStore } from '../../../store/store.ts'
import { keepImportedHistory } from './keep-history.ts'
import { ImportError } from './import-error.ts'

export interface RestoreOptions {
  readonly source: Store
  readonly target: WritableStore
  /** A file that exists while the database has only part of the export. */
  readonly markPath: string
  /** Receives the number of bytes of records copied, and then of those compared. */
  readonly progress?: (phase: 'copy' | 'compare', bytes: number) => void
}

export interface RestoreResult {
  readonly transactions: number
  readonly records: number
}

/** Records loaded together; a record may be as large as a block. */
const BATCH = 8
const CACHE_BYTES = 4 << 20

/** Whether a ZODB database contains a zblkfs filesystem. */
export async function isExport(source: Store): Promise<boolean> {
  const connection = await Connection.open(source, { cacheSizeBytes: CACHE_BYTES })
  try {
    const ref = (await readingForeign(source, () => connection.root())).get('zblkfs')
    return ref !== undefined && ref !== null && typeof ref === 'object' && 'oid' in ref
      ? ref.className === PersistentMapping.CLASS_NAME
      : false
  } catch (error) {
    if (error instanceof CannotOpenError) return false
    throw error
  }
}

/**
 * Copies all transactions into a database that is empty, or has the first of them from an interrupted restore.
 * @throws ImportError if it has others.
 */
export async function restoreExport(options: RestoreOptions): Promise<RestoreResult> {
  const { source, target } = options
  const done = await target.lastTid()
  if (done !== TID_NONE) await assertBegun(source, target, done)
  writeFileSync(options.markPath, '')
  await keepImportedHistory(target)
  const upTo = await source.lastTid()
  for await (const { tid, user, description, extension } of source.transactions({ after: done, upTo })) {
    const changes: ObjectChange[] = []
    const base = tidOf(tid - 1n)
    for await (const { oids, revisions } of batchesOf(source, tid))
      for (const [i, oid] of oids.entries()) {
        const record = revisions[i]?.record
        changes.push({
          oid,
          base,
          record:
            record === undefined ? null : await readingForeign(source, () => sourceOf(record, oid, tid)),
        })
        options.progress?.('copy', record?.length ?? 0)
      }
    await target.commit({ changes, user, description, extension, tid })
  }
  const compared = await compare(options, upTo)
  rmSync(options.markPath, { force: true })
  return compared
}

/** @throws ImportError */
async function assertBegun(source: Store, target: Store, done: Tid): Promise<void> {
  const [theirs, ours] = await Promise.all([source, target].map(store => transactionsUpTo(store, done)))
  if (theirs === ours) return
  throw new ImportError(
    `${source.name} was exported by zblkfs and can only be restored whole: import it into a new database`,
  )
}

/** Identifies a history up to a transaction. */
async function transactionsUpTo(store: Store, upTo: Tid): Promise<string> {
  const found: string[] = []
  for await (const { tid, objects, bytes } of store.transactions({ upTo, reverse: true, limit: 100 }))
    found.push(`${formatTid(tid)} ${objects} ${bytes}`)
  return found.join('\n')
}

/** Objects that a transaction changed, and their states afterwards. */
interface Batch {
  readonly oids: readonly Oid[]
  readonly revisions: readonly (Revision | undefined)[]
}

async function* batchesOf(store: Store, tid: Tid): AsyncGenerator<Batch> {
  for await (const { oids } of store.changes(tidOf(tid - 1n), tid))
    for (let i = 0; i < oids.length; i += BATCH) {
      const batch = oids.slice(i, i + BATCH)
      yield { oids: batch, revisions: await readingForeign(store, () => store.load(batch, tid)) }
    }
}

/** Splits a record so that the store can put its bulk bytes into the log. */
function sourceOf(record: Uint8Array, oid: Oid, tid: Tid): RecordSource {
  const className = classOfRecord(record)
  if (className !== ZBLK0 && className !== ZDATA) return { head: record }
  const { off, len } = dataPosition(record, record.length, oid, tid)
  const body = [record.subarray(off, off + len)]
  return { head: record.subarray(0, off), body, tail: record.subarray(off + len) }
}

async function compare({ source, target, progress }: RestoreOptions, upTo: Tid): Promise<RestoreResult> {
  let transactions = 0
  let records = 0
  for await (const { tid } of source.transactions({ upTo })) {
    transactions++
    for await (const { oids, revisions } of batchesOf(source, tid)) {
      const ours = await target.load(oids, tid)
      for (const [i, oid] of oids.entries()) {
        if (!isSameState(revisions[i], ours[i]))
          throw new ImportError(
            `object ${formatOid(oid)} of transaction ${formatTid(tid)} differs from the one in ${source.name}`,
          )
        records++
        progress?.('compare', revisions[i]?.record.length ?? 0)
      }
    }
  }
  return { transactions, records }
}
