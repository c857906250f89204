/** What an external ZODB database holds, by its own transactions: for `zblkfs df`. */
import { stat } from '../../store/os-files-async.ts'
import { formatTime } from '../../store/moments.ts'
import { formatTid, parseTid, TID_NONE, timeFromTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { printable } from '../../core/printable.ts'
import { formatBytes } from '../units.ts'

/** In bytes. */
export interface ForeignUsage {
  readonly database: string
  readonly fileBytes: number
  /** All records of all transactions that the database has kept. */
  readonly recordBytes: number
  readonly revisions: number
  readonly transactions: number
  /** The first and the last transaction, 16 hex digits each; absent if there is none. */
  readonly first?: string
  readonly last?: string
}

export async function foreignUsage(store: Store): Promise<ForeignUsage> {
  let [recordBytes, revisions, transactions] = [0, 0, 0]
  let [first, last]: (Tid | undefined)[] = []
  for await (const { tid, bytes, objects } of store.transactions()) {
    recordBytes += bytes
    revisions += objects
    transactions++
    first ??= tid
    last = tid
  }
  return {
    database: store.name,
    fileBytes: (await stat(store.name)).size,
    recordBytes,
    revisions,
    transactions,
    ...(first !== undefined && { first: formatTid(first) }),
    ...(last !== undefined && { last: formatTid(last) }),
  }
}

export function describeForeignUsage(usage: ForeignUsage): string {
  const { database, fileBytes, recordBytes, revisions, transactions, first, last } = usage
  const when = (tid: string): string => `${tid} of ${formatTime(timeFromTid(parseTid(tid) ?? TID_NONE))}`
  const row = (bytes: number, what: string): string => `${formatBytes(bytes).padStart(10)}  ${what}`
  return [
    row(fileBytes, `${printable(database)}, a ZODB database`),
    row(recordBytes, 'records, present and history'),
    row(Math.max(0, fileBytes - recordBytes), 'what the file has beside them'),
    `${revisions} states in ${transactions} transactions` +
      (first === undefined || last === undefined ? '' : `, from ${when(first)} to ${when(last)}`),
    "its history is dropped by ZODB's own pack; 'zblkfs import' copies it into a database of zblkfs",
  ].join('\n')
}
