/**
 * Reads the history of a database for a copy: every transaction with its tid, and what records share stays shared. Bytes are read when
 * the consumer requests them; without that, a history is measured.
 *
 * The database may be written and packed meanwhile. A pack records which moments it keeps before it drops anything, so a consumer that requests
 * the kept moments at the end of a transaction knows what the records of that transaction are good for.
 */
import { NO_BYTES } from '../../store/bytes.ts'
import type { Copying, StoredRecord } from '../../store/copying.ts'
import type { RecordSlice } from '../../store/changes.ts'
import { CorruptRecordError, ObjectNotFoundError, StoreError } from '../../store/errors.ts'
import { tid as toTid, type Tid } from '../../store/ids.ts'
import type { Store, TransactionInfo } from '../../store/store.ts'
import type { CopiedRecord, HistoryItem, NewBytes } from './history-items.ts'
import { revisionsBetween, SourcePlaces } from './source-places.ts'

/** @throws StoreError if a store cannot be copied. */
export function copyingOf({ name, capabilities }: Store): Copying {
  if (capabilities.copying === undefined) throw new StoreError(`${name} cannot be copied`)
  return capabilities.copying
}

/**
 * The transactions `(after, upTo]`; a target that has those up to `after` can store them.
 * @param shared the target has the bytes of the transactions up to this one: slices may refer to them. @throws StoreError
 */
export async function* readHistory(
  source: Store,
  after: Tid,
  upTo: Tid,
  shared: Tid = after,
): AsyncGenerator<HistoryItem> {
  const copying = copyingOf(source)
  const places = new SourcePlaces(copying, shared)
  try {
    for await (const info of source.transactions({ after, upTo }))
      yield* readTransaction(source, copying, places, info)
  } finally {
    places.close()
  }
}

/** Transactions without records have no effect, and are left out. */
async function* readTransaction(
  source: Store,
  copying: Copying,
  places: SourcePlaces,
  head: TransactionInfo,
): AsyncGenerator<HistoryItem> {
  let isBegun = false
  for await (const page of revisionsBetween(copying, toTid(head.tid - 1n), head.tid))
    for (const row of page) {
      if (!isBegun) yield { kind: 'transaction', head }
      isBegun = true
      const shared = await places.shared(row)
      let isDropped = false
      const read = async (): Promise<readonly Uint8Array[] | undefined> => {
        const body = await readBody(source, row)
        isDropped = body === undefined
        return body
      }
      yield { kind: 'record', record: copiedRecord(row, shared, read) }
      if (shared === undefined && !isDropped) places.enter(row)
    }
  if (isBegun) yield { kind: 'end' }
}

function copiedRecord(
  { oid, head, pos, len, tail }: StoredRecord,
  shared: RecordSlice | undefined,
  read: NewBytes['read'],
): CopiedRecord {
  const body = pos === null ? undefined : (shared ?? { len, read })
  return { oid, head, body, tail: tail ?? NO_BYTES }
}

async function readBody(
  source: Store,
  { oid, tid, head, len }: StoredRecord,
): Promise<readonly Uint8Array[] | undefined> {
  const into = Buffer.allocUnsafeSlow(len)
  try {
    await source.readSlices([{ oid, tid, off: head?.length ?? 0, into }])
    return [into]
  } catch (error) {
    const mayBeDropped = error instanceof ObjectNotFoundError || error instanceof CorruptRecordError
    if (!mayBeDropped) throw error
    const left = await source.revisions(oid, { after: toTid(tid - 1n), upTo: tid })
    if (left.length > 0) throw error
    return undefined
  }
}
