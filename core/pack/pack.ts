/**
 * Packing a database: history before a moment and objects that nothing reaches are dropped, and their room goes back
 * to the host's filesystem, while the database is in use. This file decides which moments are kept, mark.ts which objects
 * are reached; dropping is the store's (store/capabilities.ts, `Packing`).
 *
 * A moment may come into use while the pack begins. So:
 *
 * 1. `settle` stores what is prepared and not yet committed: what was deleted last is history then, and can be dropped.
 * 2. The moments that are kept are recorded. From here on no other one can be opened (`Store.isKept`).
 * 3. `settle` again: what was prepared meanwhile may share bytes of a moment that was closed meanwhile. What could not be
 *    stored, as the disk is full, stays prepared, and the moments whose bytes it shares are kept.
 * 4. The moments in use are asked for again: one that was being opened during step 2 is kept as well.
 *
 * Only then anything is dropped. Later commits take bytes and objects from the present or from kept moments alone.
 */
import { siblingModule } from '../../store/sibling-module.ts'
import type { PackProgress, PackReport, Packing } from '../../store/capabilities.ts'
import { StoreError } from '../../store/errors.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import { isKept, keptMoments, type KeptMoments } from '../../store/kept-moments.ts'
import type { Store } from '../../store/store.ts'
import { newestUpTo } from './moments.ts'

const MARKER = siblingModule('mark', import.meta.url)

export interface PackOptions {
  /** The state at this moment is kept, and every later one; TID_NONE keeps all, TID_MAX the present alone. */
  readonly from: Tid
  /**
   * Earlier moments that are kept as well: tags, and those in use in this process. Called twice. Those that
   * other processes use are known to the store.
   */
  readonly moments?: () => Promise<readonly Tid[]>
  /**
   * Stores everything that is prepared; called three times. Returns the moments whose bytes are shared by what the disk has no
   * room for.
   */
  readonly settle?: () => Promise<readonly Tid[]>
  /** How long to rest after each piece of work, as a multiple of the time that it took; none if absent. */
  readonly rest?: number
  /** Room that need not be given back, for what is written next, in bytes; none if absent. */
  readonly spareBytes?: number
  readonly onProgress?: (progress: PackProgress) => void
  /** Ends the pack early. What is done is done. */
  readonly signal?: AbortSignal
}

/** Every field can be sent as JSON. */
export interface PackResult extends PackReport {
  /** The oldest moment of the history, tags and moments in use aside: before the pack, and now. 16 hex digits. */
  readonly historyFromBefore: string
  readonly historyFrom: string
}

/**
 * Packs a database; one pack of a database at a time.
 * @throws CorruptRecordError for a record whose references cannot be read: then nothing was dropped; StoreError; the
 *   signal's reason. Nothing that is kept is lost.
 */
export async function pack(store: Store, options: PackOptions): Promise<PackResult> {
  const { rest = 0, spareBytes = 0, onProgress = () => {}, signal } = options
  signal?.throwIfAborted()
  const packing = packingOf(store)
  const { from: before } = await packing.kept()
  const kept = await settleMoments(store, packing, options)
  const report = await packing.pack({ kept, marker: MARKER, rest, spareBytes, onProgress, signal })
  return { ...report, historyFromBefore: formatTid(before), historyFrom: formatTid(kept.from) }
}

/** @throws StoreError if a store cannot be packed. */
export function packingOf(store: Store): Packing {
  const { packing } = store.capabilities
  if (packing === undefined) throw new StoreError(`${store.name} cannot be packed: it is only read`)
  return packing
}

/** Records which moments are kept, so that no other one comes into use. */
async function settleMoments(store: Store, packing: Packing, options: PackOptions): Promise<KeptMoments> {
  const { moments = () => Promise.resolve([]), settle = () => Promise.resolve([]) } = options
  const pinned = async (): Promise<readonly Tid[]> => (await store.capabilities.pinning?.pinned()) ?? []
  let shared = await settle()
  const before = await packing.kept()
  const newest = await newestUpTo(store, options.from)
  // What an earlier pack has forgotten does not come back.
  const from = newest > before.from ? newest : before.from
  let kept: KeptMoments | undefined
  for (let round = 0; round < 2; round++) {
    const wanted = [...(kept?.earlier ?? []), ...shared, ...(await moments()), ...(await pinned())]
    kept = keptMoments(
      from,
      wanted.filter(moment => isKept(before, moment)),
    )
    await packing.keep(kept)
    shared = await settle()
  }
  return kept ?? before
}
