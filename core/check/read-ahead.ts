/**
 * Reads the states of neighbouring objects together for a check: what belongs to one file was stored together, so one read of
 * a window of oids answers the look-ups of hundreds of objects. A bounded number of windows is kept.
 *
 * A pack may drop revisions meanwhile, but none that its kept moments see: after a change
 * of these moments, the windows are stale, and another ReadAhead is needed.
 */
import { LRUCache } from 'lru-cache'
import { overridden } from '../overridden.ts'
import { CorruptRecordError } from '../../store/errors.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import type { ReadableStore, ReadOnlyStore, Revision, RevisionPart } from '../../store/store.ts'
import type { RecordStart, RevisionReader, StoredState } from '../../store/stored-revisions.ts'

/** Oids of a window. */
export const WINDOW_OIDS = 1024
const WINDOWS_MAX = 24
/** A window with more states than this is not kept whole: objects with a long history are looked up one by one. */
const STATES_MAX = 8192

/** The states of a window's objects, each newest first; undefined for a window that is too large. */
type Window = ReadonlyMap<number, readonly StoredState[]> | undefined

const NONE: readonly StoredState[] = []

export class ReadAhead {
  readonly #reader: RevisionReader
  readonly #upTo: bigint
  readonly #windows = new LRUCache<number, { readonly window: Window }>({ max: WINDOWS_MAX })

  constructor(reader: RevisionReader, upTo: bigint) {
    this.#reader = reader
    this.#upTo = upTo
  }

  /** The states of an object, newest first; undefined if there are too many of its neighbours. */
  statesOf(oid: number): readonly StoredState[] | undefined | Promise<readonly StoredState[] | undefined> {
    const number = Math.floor(oid / WINDOW_OIDS)
    const known = this.#windows.get(number)
    if (known !== undefined) return known.window === undefined ? undefined : (known.window.get(oid) ?? NONE)
    return this.#load(number).then(window => window && (window.get(oid) ?? NONE))
  }

  /** The state of an object at a moment, in the same way. */
  stateAt(
    oid: number,
    at: bigint,
  ): StoredState | undefined | 'unknown' | Promise<StoredState | undefined | 'unknown'> {
    const states = this.statesOf(oid)
    return states instanceof Promise ? states.then(found => newest(found, at)) : newest(states, at)
  }

  async #load(number: number): Promise<Window> {
    const found = new Map<number, StoredState[]>()
    let count = 0
    const lo = number * WINDOW_OIDS
    for await (const states of this.#reader.states(lo, lo + WINDOW_OIDS, this.#upTo)) {
      count += states.length
      if (count > STATES_MAX) break
      for (const state of states) {
        const of = found.get(state.oid)
        if (of === undefined) found.set(state.oid, [state])
        else of.push(state)
      }
    }
    const window = count > STATES_MAX ? undefined : found
    this.#windows.set(number, { window })
    return window
  }
}

function newest(states: readonly StoredState[] | undefined, at: bigint): StoredState | undefined | 'unknown' {
  return states === undefined ? 'unknown' : states.find(({ tid }) => tid <= at)
}

/** Whether all of a record is in its state. */
const isWhole = (start: RecordStart): boolean => start.bytes.length === start.size

/** A store whose objects are read by a {@link ReadAhead}, as far as they are short. */
export function readAheadStore(store: ReadOnlyStore, ahead: ReadAhead): ReadOnlyStore {
  const load = async (oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> => {
    const found: (Revision | undefined)[] = []
    const missing: number[] = []
    for (const [index, oid] of oids.entries()) {
      const looked = ahead.stateAt(oid, at)
      const state = looked instanceof Promise ? await looked : looked
      if (state === 'unknown') missing.push(index)
      else if (state?.start instanceof CorruptRecordError) throw state.start
      else if (state?.start !== undefined && !isWhole(state.start)) missing.push(index)
      else if (state?.start !== undefined) found[index] = { tid: state.tid, record: state.start.bytes }
    }
    if (missing.length === 0) return oids.map((_, index) => found[index])
    const rest = await store.load(
      missing.flatMap(index => oids[index] ?? []),
      at,
    )
    for (const [nth, index] of missing.entries()) found[index] = rest[nth]
    return oids.map((_, index) => found[index])
  }
  const loadPart = async (
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> => {
    const looked = ahead.stateAt(oid, at)
    const state = looked instanceof Promise ? await looked : looked
    if (state === 'unknown') return await store.loadPart(oid, at, off, len, into)
    if (state?.start === undefined) return undefined
    if (state.start instanceof CorruptRecordError) throw state.start
    const { size, bytes } = state.start
    const end = Math.min(off + len, size)
    if (end > bytes.length) return await store.loadPart(oid, at, off, len, into)
    return { tid: state.tid, size, bytes: bytes.subarray(Math.min(off, end), end) }
  }
  return overridden<ReadableStore, typeof store>(store, { load, loadPart })
}
