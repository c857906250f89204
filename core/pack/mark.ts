/**
 * Finds the objects reachable from the root through any kept revision of the objects on the path. That is slightly more
 * than the kept moments need (no single moment may have the whole path), but simple and safe. A store that packs imports this module (store/capabilities.ts, `MarkModule`).
 *
 * Two bitmaps hold the objects found and those still to be read, so that memory is bounded. Objects are read in the order of
 * their oids, round after round, as neighbours are stored together. Blocks and chunks of data, which are nearly all
 * objects of a database, have no references and are not read.
 */
import type { Edge, Edges, Mark, RevisionReader } from '../../store/stored-revisions.ts'
import { CorruptRecordError, StoreError } from '../../store/errors.ts'
import { oid as toOid, ROOT_OID, tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import { KeptRevisions, type KeptMoments } from '../../store/kept-moments.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { entry, Ref } from '../objects/pickle/value.ts'
import { classOfRecord, decodeReferences, ZBLK0, ZDATA } from '../objects/record.ts'

/** Objects read together. */
const BATCH_OBJECTS = 64
/** Maximum number of records in memory. */
const BATCH_RECORDS = 64

export const mark: Mark = async (reader, kept, upTo, pause = () => undefined, sets) => {
  if (!(await hasRevision(reader, ROOT_OID, upTo)))
    throw new StoreError('the database has no root object, so all of it would be garbage')
  const reached = sets?.reached ?? new PagedBitmap()
  const waiting = sets?.waiting ?? new PagedBitmap()
  const { nextOid } = await reader.totals()
  try {
    if (reached.add(ROOT_OID)) waiting.add(ROOT_OID)
    let done = 0
    for (let from = 0; ;) {
      const batch = takeBatch(waiting, from, nextOid)
      const last = batch.at(-1)
      if (last === undefined) {
        if (from === 0) return reached
        from = 0
        continue
      }
      from = last + 1
      for await (const found of edgesOf(reader, kept, batch, upTo))
        for (const edge of found) {
          sets?.onEdge(edge)
          if (reached.add(edge.oid) && !edge.isData && edge.oid < nextOid) waiting.add(edge.oid)
        }
      done += batch.length
      await pause(done)
    }
  } catch (error) {
    if (sets === undefined) reached.close()
    throw error
  } finally {
    if (sets === undefined) waiting.close()
  }
}

export const edges: Edges = {
  of(record, oid, tid) {
    const { className, refs, state } = decodeReferences(record, oid, tid)
    const parent = className === PersistentMapping.CLASS_NAME ? parentIn(state) : undefined
    const parentRef = refs.findLast(ref => ref.oid === parent)
    return refs.map(ref => ({ oid: ref.oid, isData: isData(ref.className), isWeak: ref === parentRef }))
  },
  isData: start => isData(classOfRecord(start)),
}

/** The directory to which an inode points back (tree/inode.ts). It holds the inode's name, and is reached without it. */
function parentIn(state: unknown): Oid | undefined {
  const fields = state instanceof Map ? entry(state, 'data') : undefined
  const parent = fields instanceof Map ? entry(fields, 'parent') : undefined
  return parent instanceof Ref ? parent.oid : undefined
}

const isData = (className: string): boolean => className === ZDATA || className === ZBLK0

async function hasRevision(reader: RevisionReader, oid: Oid, upTo: Tid): Promise<boolean> {
  for await (const batch of reader.revisions([oid], upTo)) if (batch.length > 0) return true
  return false
}

/** Removes and returns the first objects in `[from, end)` of the set. */
function takeBatch(waiting: PagedBitmap, from: number, end: number): readonly number[] {
  const batch: number[] = []
  for (let oid = waiting.find(true, from, end); oid < end; oid = waiting.find(true, oid + 1, end)) {
    waiting.delete(oid)
    batch.push(oid)
    if (batch.length === BATCH_OBJECTS) break
  }
  return batch
}

async function* edgesOf(
  reader: RevisionReader,
  kept: KeptMoments,
  oids: readonly number[],
  upTo: Tid,
): AsyncGenerator<readonly Edge[]> {
  const seen = new KeptRevisions(kept)
  for await (const revisions of reader.revisions(oids, upTo)) {
    const wanted = revisions.filter(({ oid, tid, isTombstone }) => seen.sees(oid, tid) && !isTombstone)
    for (let first = 0; first < wanted.length; first += BATCH_RECORDS) {
      const batch = wanted.slice(first, first + BATCH_RECORDS)
      const records = await reader.records(batch)
      for (const [index, { oid, tid }] of batch.entries()) {
        const record = records[index]
        if (record instanceof CorruptRecordError) throw record
        if (record !== undefined) yield edges.of(record.bytes, toOid(oid), toTid(tid))
      }
    }
  }
}
