/**
 * Packs a database: drops history before a moment, and unreachable objects, and returns their space to the host's
 * filesystem, while the database is in use. The caller names the moments that are kept (moments.ts, thinning.ts), this file adds those
 * in use, and mark.ts finds the objects that are reachable; the store drops the rest (store/capabilities.ts, `Packing`).
 *
 * A moment may come into use while the pack begins. So:
 *
 * 1. `settle` stores what is prepared and not yet committed: what was deleted last is history then, and can be dropped.
 * 2. The moments that are kept are recorded. From here on no other one can be opened (`Store.isKept`).
 * 3. `settle` again: what was prepared meanwhile may share bytes of a moment that was closed meanwhile. What could not be
 *    stored, as the disk is full, stays prepared, and the moments whose bytes it shares are kept.
 * 4. The moments in use are read again: one that was being opened during step 2 is kept as well.
 *
 * Only then is anything dropped. Later commits refer only to bytes and objects of the present or of kept moments.
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
  /** The states at this moment and later are kept; TID_NONE keeps all, TID_MAX only the present. */
  readonly from: Tid
  /**
   * Earlier moments to keep as well: tags, and those in use in this process. Called twice. The store knows the moments
   * in use by other processes.
   */
  readonly moments?: () => Promise<readonly Tid[]>
  /**
   * Stores everything that is prepared; called three times. Returns the moments whose bytes are shared by what the disk has no
   * room for.
   */
  readonly settle?: () => Promise<readonly Tid[]>
  /** How long to rest after each piece of work, as a multiple of the time that it took; none if absent. */
  readonly rest?: number
  /** Free space to keep for the next writes, in bytes; none if absent. */
  readonly spareBytes?: number
  readonly onProgress?: (progress: PackProgress) => void
  /** Ends the pack early, without undoing what is done. */
  readonly signal?: AbortSignal
}

/** Every field can be serialised as JSON. */
export interface PackResult extends PackReport {
  /** The oldest moment of the history before and after the pack, without tags and moments in use. 16 hex digits. */
  readonly historyFromBefore: string
  readonly historyFrom: string
}

/**
 * Packs a database. Only one pack of a database may run at a time.
 * @throws CorruptRecordError for a record whose references cannot be read: nothing was dropped then; StoreError; the
 *   signal's reason. Nothing kept is lost.
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
function packingOf(store: Store): Packing {
  const { packing, branch } = store.capabilities
  if (branch !== undefined)
    throw new StoreError(`${store.name} is a branch, which keeps its history until it is deleted`, {
      code: 'not-on-branch',
    })
  if (packing === undefined) throw new StoreError(`${store.name} cannot be packed: it is read-only`)
  return packing
}

/** Records which moments are kept, so that no others can be opened. */
async function settleMoments(store: Store, packing: Packing, options: PackOptions): Promise<KeptMoments> {
  const { moments = () => Promise.resolve([]), settle = () => Promise.resolve([]) } = options
  const pinned = async (): Promise<readonly Tid[]> => (await store.capabilities.pinning?.pinned()) ?? []
  let shared = await settle()
  const before = await packing.kept()
  const newest = await newestUpTo(store, options.from)
  // Moments that an earlier pack has dropped stay dropped.
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
