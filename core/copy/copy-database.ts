/**
 * Copies a database with its history, to another kind of store too: every transaction with its tid, and what records share stays
 * shared (history-reader.ts). It continues after the last transaction that the target has, and compares all records in the end.
 */
import type { StoredRecord } from '../../store/copying.ts'
import { StoreError } from '../../store/errors.ts'
import { formatOid, formatTid, TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { ALL_MOMENTS, isSameMoments } from '../../store/kept-moments.ts'
import type { Store, WritableStore } from '../../store/store.ts'
import { copyingOf, readHistory } from './history-reader.ts'
import { HistoryWriter } from './history-writer.ts'
import { isSameState } from './same-state.ts'
import { revisionsBetween } from './source-places.ts'

/** Records that are compared together; a record may be as large as a block. */
const COMPARED = 8

export interface CopyOptions {
  readonly source: Store
  readonly target: WritableStore
  /** Receives the bytes of records copied or compared so far, and those of all records (0: unknown). Shared bytes count once per record. */
  readonly onProgress: (phase: 'copy' | 'compare', done: number, total: number) => void
}

export interface CopyResult {
  readonly transactions: number
  readonly records: number
  readonly upTo: Tid
}

/** @throws StoreError if the source cannot be copied, was packed meanwhile, or is not what the target has. */
export async function copyDatabase(options: CopyOptions): Promise<CopyResult> {
  const { source, target } = options
  const { measuring, retaining, lineage } = source.capabilities
  const reader = measuring?.reader()
  try {
    const kept = await reader?.kept()
    const upTo = await source.lastTid()
    const transactions = await copy(options, upTo)
    const records = await compare(options, upTo)
    const now = await reader?.kept()
    if (kept !== undefined && now !== undefined && !isSameMoments(kept, now))
      throw new StoreError(`${source.name} was packed while it was copied: copy it again`)
    if (kept !== undefined && kept.from !== TID_NONE) await target.capabilities.packing?.keep(kept)
    const retention = await retaining?.retention()
    if (retention !== undefined) await target.capabilities.retaining?.setRetention(retention)
    if (lineage !== undefined)
      await target.capabilities.lineage?.setLineage(await lineage.origin(), kept ?? ALL_MOMENTS)
    return { transactions, records, upTo }
  } finally {
    reader?.close()
  }
}

/** Resolves to the number of transactions that were copied now. */
async function copy({ source, target, onProgress }: CopyOptions, upTo: Tid): Promise<number> {
  const done = await target.lastTid()
  if (done > upTo)
    throw new StoreError(
      `${target.name} has a transaction ${formatTid(done)} that ${source.name} does not have: name a new database`,
    )
  const writer = new HistoryWriter(target)
  const total = await recordBytes(source)
  let bytes = await recordBytes(target)
  let transactions = 0
  for await (const item of readHistory(source, done, upTo)) {
    if (item.kind === 'transaction') writer.begin(item.head)
    else if (item.kind === 'record') {
      const { head, body, tail } = item.record
      await writer.add(item.record)
      bytes += (head?.length ?? 0) + (body?.len ?? 0) + tail.length
      onProgress('copy', bytes, total)
    } else {
      await writer.end()
      transactions++
    }
  }
  return transactions
}

/** Compares every record; resolves to their number. @throws StoreError */
async function compare(options: CopyOptions, upTo: Tid): Promise<number> {
  const total = await recordBytes(options.source)
  let [records, bytes] = [0, 0]
  for await (const page of revisionsBetween(copyingOf(options.source), TID_NONE, upTo)) {
    for (const [tid, rows] of Map.groupBy(page, (row: StoredRecord) => row.tid))
      for (let i = 0; i < rows.length; i += COMPARED) {
        const oids = rows.slice(i, i + COMPARED).map(({ oid }) => oid)
        bytes += await compareAll(options, oids, tid)
        options.onProgress('compare', bytes, total)
      }
    records += page.length
  }
  return records
}

/** Resolves to the number of bytes that were compared. @throws StoreError */
async function compareAll({ source, target }: CopyOptions, oids: readonly Oid[], tid: Tid): Promise<number> {
  let bytes = 0
  const [wanted, found] = await Promise.all([source.load(oids, tid), target.load(oids, tid)])
  for (const [i, oid] of oids.entries()) {
    if (!isSameState(wanted[i], found[i]))
      throw new StoreError(
        `object ${formatOid(oid)} of transaction ${formatTid(tid)} is another one in ${target.name}: name a new database`,
      )
    bytes += wanted[i]?.record.length ?? 0
  }
  return bytes
}

/** The bytes of a store's records; 0 if they are unknown, as of a branch, which counts its own alone. */
async function recordBytes({ capabilities: { measuring, branch } }: Store): Promise<number> {
  if (measuring === undefined || branch !== undefined) return 0
  const { rowBytes, bulkBytes } = (await measuring.sums()).all
  return rowBytes + bulkBytes
}
