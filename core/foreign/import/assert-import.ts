/** Preconditions of an import, also when it is resumed. */
import { formatTid, tid as tidOf, TID_NONE, type Tid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import { ImportError } from './import-error.ts'
import type { ImportMap } from './import-map.ts'

export interface ImportPurpose {
  readonly source: Store
  readonly target: Store
  readonly mapPath: string
  readonly into: string
  readonly history: boolean
}

/** Identifies an import. */
export function purposeOf({ source, into, history }: ImportPurpose): string {
  return JSON.stringify({ source: source.name, into, history })
}

/** @throws ImportError if the map belongs to an import that this one cannot resume. */
export function assertSameImport(import_: ImportPurpose, map: ImportMap, newest: Tid): void {
  if (map.purpose === undefined) return
  const { source, target, mapPath } = import_
  if (map.purpose !== purposeOf(import_))
    throw new ImportError(
      `another import into ${target.name} was interrupted (${map.purpose}): repeat that one first, or remove ${mapPath} to abandon it`,
    )
  if (newest < map.upTo)
    throw new ImportError(
      `${source.name} ends with transaction ${formatTid(newest)}, but had ${formatTid(map.upTo)} when its import began: restore it, or remove ${target.name} and ${mapPath} and start again`,
    )
}

/** @throws ImportError if tids cannot be kept. */
export async function assertLater(source: Store, target: Store): Promise<void> {
  const last = await target.lastTid()
  if (last === TID_NONE) return
  const [theirs, ours] = await Promise.all([source, target].map(lastTransaction))
  if (theirs === ours)
    throw new ImportError(
      `${target.name} has the history of ${source.name} already: both end with transaction ${formatTid(last)}`,
    )
  for await (const { tid } of source.transactions({ limit: 1 })) {
    if (tid > last) return
    throw new ImportError(
      `the history cannot be kept: ${source.name} begins with transaction ${formatTid(tid)}, but ${target.name} has ${formatTid(last)} already, and tids must increase`,
      { code: 'import-overlap' },
    )
  }
}

/** Whether a store has a transaction. */
export async function hasTransaction(store: Store, tid: Tid): Promise<boolean> {
  if (tid === TID_NONE) return false
  for await (const transaction of store.transactions({ after: tidOf(tid - 1n), upTo: tid }))
    return transaction.tid === tid
  return false
}

/** Identifies a store's last transaction. */
async function lastTransaction(store: Store): Promise<string> {
  for await (const { tid, description, user } of store.transactions({ reverse: true, limit: 1 }))
    return `${formatTid(tid)} ${user} ${description}`
  return ''
}
