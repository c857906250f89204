/** Histories of random transactions, the same for the same seed. */
import { TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import type { ObjectChange, RecordSource } from '../../../store/changes.ts'
import type { WritableStore } from '../../../store/store.ts'
import type { History, WrittenTransaction } from '../history.ts'
import { newOids } from '../../tools/new-oids.ts'

/** Commits some thirty transactions of all kinds of changes, and records what they were. `before`: what the store has. */
export async function writeRandomHistory(
  store: WritableStore,
  seed: number,
  before: History = [],
): Promise<History> {
  const next = random(seed)
  const below = (end: number): number => Math.floor(next() * end)
  const history: WrittenTransaction[] = []
  const newest = new Map<Oid, { tid: Tid; record: Uint8Array | null }>()
  for (const { tid, records } of before) for (const [oid, record] of records) newest.set(oid, { tid, record })

  const source = (): { source: RecordSource; record: Uint8Array } => {
    const bytes = (length: number): Uint8Array => randomBytes(length, below(2 ** 31))
    const length = [0, 10, 300, 2000, 4096, 60_000, 200_000][below(7)] ?? 0
    const head = bytes(below(8) === 0 ? 3000 : below(60))
    const tail = bytes(below(8) === 0 ? 2500 : below(4))
    const alive = [...newest].filter(([, { record }]) => record !== null)
    const [from, state] = alive[below(alive.length)] ?? []
    if (from !== undefined && state?.record != null && below(3) === 0) {
      const off = below(state.record.length + 1)
      const len = below(state.record.length - off + 1)
      const slice = state.record.subarray(off, off + len)
      return {
        source: { head, body: { oid: from, tid: state.tid, off, len }, tail },
        record: Buffer.concat([head, slice, tail]),
      }
    }
    if (below(3) === 0) return { source: { head }, record: head }
    const body = [bytes(length), shared(bytes(below(5000)))]
    return { source: { head, body, tail }, record: Buffer.concat([head, ...body, tail]) }
  }

  for (let count = 0; count < 30; count++) {
    const records = new Map<Oid, Uint8Array | null>()
    const changes: ObjectChange[] = []
    const old = [...newest.keys()].filter(() => below(4) === 0)
    const fresh = await newOids(store, below(count === 0 ? 20 : 6))
    for (const oid of [...fresh, ...old]) {
      const base = newest.get(oid)?.tid ?? TID_NONE
      if (base !== TID_NONE && below(6) === 0) {
        records.set(oid, null)
        changes.push({ oid, base, record: null })
      } else {
        const made = source()
        records.set(oid, made.record)
        changes.push({ oid, base, record: made.source })
      }
    }
    if (changes.length === 0) continue
    const user = ['', 'ada'][below(2)] ?? ''
    const description = ['', 'a few words', 'Ünïcode \u{1f4be}'][below(3)] ?? ''
    const extension = randomBytes(below(30), below(1000))
    const tid = await store.commit({ changes, user, description, extension })
    history.push({ tid, user, description, extension, records })
    for (const [oid, record] of records) newest.set(oid, { tid, record })
  }
  return history
}

/** A generator of numbers in [0, 1) that gives the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e37_79b9) | 0
    let hash = Math.imul(state ^ (state >>> 16), 0x85eb_ca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35)
    return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
  }
}

export function randomBytes(length: number, seed: number): Uint8Array {
  const next = random(seed)
  const words = Uint32Array.from({ length: Math.ceil(length / 4) }, () => next() * 2 ** 32)
  return new Uint8Array(words.buffer, 0, length)
}

export function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length))
  copy.set(bytes)
  return copy
}
