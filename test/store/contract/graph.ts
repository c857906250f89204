/**
 * Objects whose records a test can mark: a record is the JSON list of the oids that it refers to, padded with spaces. This
 * module is a `MarkModule`.
 */
import type { Edges, Mark } from '../../../store/stored-revisions.ts'
import { oid as toOid, ROOT_OID, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import { KeptRevisions } from '../../../store/kept-moments.ts'
import { PagedBitmap } from '../../../store/paged-bitmap.ts'
import type { ObjectChange } from '../../../store/changes.ts'
import type { WritableStore } from '../../../store/store.ts'

export const MARKER = new URL(import.meta.url)

/** A record that refers to `oids`, of at least `bytes` bytes. */
export const recordOf = (oids: readonly Oid[], bytes = 0): Uint8Array =>
  Buffer.from(JSON.stringify(oids).padEnd(bytes))

/** A change to an object; `base` is the transaction that it was made from. */
export const changeOf = (oid: Oid, base: Tid, refers: readonly Oid[] | null, bytes = 0): ObjectChange => ({
  oid,
  base,
  record: refers === null ? null : { head: new Uint8Array(), body: [recordOf(refers, bytes)] },
})

/** Commits a graph: the root refers to the first of `count` new objects, each to the next one. */
export async function commitChain(
  store: WritableStore,
  count: number,
  bytes = 0,
): Promise<{ readonly tid: Tid; readonly oids: readonly Oid[] }> {
  const { first } = await store.allocateOids(count)
  const oids = Array.from({ length: count }, (_, index) => toOid(first + index))
  const chain = oids.map((oid, index) => changeOf(oid, TID_NONE, oids.slice(index + 1, index + 2), bytes))
  const tid = await store.commit({ changes: [changeOf(ROOT_OID, TID_NONE, oids.slice(0, 1)), ...chain] })
  return { tid, oids }
}

export const edges: Edges = {
  of: record =>
    (JSON.parse(Buffer.from(record).toString()) as number[]).map(oid => ({
      oid,
      isData: false,
      isWeak: false,
    })),
  isData: () => false,
}

export const mark: Mark = async (reader, kept, upTo, _pause, sets) => {
  const reached = sets?.reached ?? new PagedBitmap()
  const waiting: number[] = [ROOT_OID]
  reached.add(ROOT_OID)
  for (let oid = waiting.pop(); oid !== undefined; oid = waiting.pop()) {
    const seen = new KeptRevisions(kept)
    for await (const batch of reader.revisions([oid], upTo)) {
      const wanted = batch.filter(({ oid, tid, isTombstone }) => seen.sees(oid, tid) && !isTombstone)
      for (const record of await reader.records(wanted)) {
        if (record === undefined) continue
        if (record instanceof Error) throw record
        for (const edge of edges.of(record.bytes, toOid(oid), upTo)) {
          sets?.onEdge(edge)
          if (reached.add(edge.oid)) waiting.push(edge.oid)
        }
      }
    }
  }
  return reached
}
