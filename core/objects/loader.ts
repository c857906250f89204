/**
 * Loads the state of ghosts: from their pending record, else from the store at the view's moment.
 *
 * An object is loaded once, however many callers wait for it. If the view moves, or objects are invalidated, during
 * the read, the result is dropped and the ghost is loaded again.
 */
import { CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'
import { TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { isSlice, type RecordSource } from '../../store/changes.ts'
import { shortLivedBytes } from '../bytes.ts'
import type { ObjectCache } from './object-cache.ts'
import type { Persistent } from './persistent.ts'
import { decodeRecord, decodeWritableRecord } from './record.ts'
import type { Records } from './records.ts'
import { NO_BYTES } from '../../store/bytes.ts'

export class Loader {
  readonly #records: Records
  readonly #cache: ObjectCache
  readonly #decode: typeof decodeRecord
  readonly #loading = new Map<Oid, Promise<void>>()
  #invalidations = 0
  /** Number of records read from the store. */
  loads = 0

  /** @param isWritable whether to treat a state that could not be written back as damage. */
  constructor(records: Records, cache: ObjectCache, isWritable: boolean) {
    this.#records = records
    this.#cache = cache
    this.#decode = isWritable ? decodeWritableRecord : decodeRecord
  }

  /** Drops the results of running reads. */
  invalidate(): void {
    this.#invalidations++
  }

  async load(object: Persistent): Promise<void> {
    while (object.status === 'ghost') await (this.#loading.get(object.oid) ?? this.#start([object]))
  }

  async loadMany(objects: readonly Persistent[]): Promise<void> {
    const ghosts = objects.filter(({ status, oid }) => status === 'ghost' && !this.#loading.has(oid))
    if (ghosts.length > 0) await this.#start(ghosts)
    for (const object of objects) await object.activate()
  }

  #start(objects: readonly Persistent[]): Promise<void> {
    const loading = this.#loadAll(objects).finally(() => {
      for (const { oid } of objects) this.#loading.delete(oid)
    })
    for (const { oid } of objects) this.#loading.set(oid, loading)
    return loading
  }

  async #loadAll(objects: readonly Persistent[]): Promise<void> {
    const stored: Persistent[] = []
    for (const object of objects) {
      const pending = this.#records.pending(object.oid)
      if (pending === undefined) stored.push(object)
      else await this.#restorePending(object, pending)
    }
    if (stored.length === 0) return
    this.loads += stored.length
    const invalidations = this.#invalidations
    const { at } = this.#records
    const revisions = await this.#records.load(stored.map(({ oid }) => oid))
    if (invalidations !== this.#invalidations || at !== this.#records.at) return
    for (const [i, object] of stored.entries()) {
      if (object.status !== 'ghost' || this.#records.pending(object.oid) !== undefined) continue
      const revision = revisions[i]
      if (revision === undefined) throw new ObjectNotFoundError(object.oid, at)
      this.#restore(object, revision.record, revision.tid)
    }
  }

  async #restorePending(object: Persistent, source: RecordSource): Promise<void> {
    const { head, body, tail } = source
    let pieces: readonly Uint8Array[] = []
    if (body !== undefined && isSlice(body)) {
      const into = shortLivedBytes(body.len)
      await this.#records.readSlices([{ ...body, into }])
      if (object.status !== 'ghost' || this.#records.pending(object.oid) !== source) return
      pieces = [into]
    } else if (body !== undefined) pieces = body
    // The state may keep views of the record, and a piece may be in a slab: it is copied.
    const record =
      body === undefined && tail === undefined ? head : Buffer.concat([head, ...pieces, tail ?? NO_BYTES])
    this.#restore(object, record, TID_NONE)
  }

  #restore(object: Persistent, record: Uint8Array, tid: Tid): void {
    const { oid, className } = object
    const decoded = this.#decode(record, oid, tid)
    if (decoded.className !== className)
      throw new CorruptRecordError(
        oid,
        tid,
        `it is a ${decoded.className}, but is referred to as a ${className}`,
      )
    object.restore({ state: decoded.state, tid })
    this.#cache.hold(object)
  }
}
