/**
 * Drops pending records that nothing reaches any more, so that a transaction which the disk had no room for may fit after
 * files were deleted. Two kinds of records are certain to be garbage:
 *
 * 1. those of files that were dropped, and of their data. No two files share an object, so what their trees reach is theirs.
 *    The stored inode of such a file keeps its link count; by the number of inodes in the superblock, fsck does not take it for lost;
 * 2. those of new objects that no other pending record leads to. The store cannot refer to an object that it never had, so
 *    what is reached from the pending records of older objects, and from the root, is all that is in use.
 *
 * Both between a prepare and its commit: then the pending records and the store have everything. The second while no change runs. The
 * first reads from the store, and changes may run: none can reach such a file.
 */
import { NO_BYTES } from '../../store/bytes.ts'
import { isSlice, type RecordSource } from '../../store/changes.ts'
import { ROOT_OID, TID_NONE, type Oid } from '../../store/ids.ts'
import { Turns } from '../turns.ts'
import type { PendingRecords } from './pending-records.ts'
import type { Ref } from './pickle/value.ts'
import { references, ZBLK0, ZDATA } from './record.ts'
import { IO, LO } from '../btree/kind.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import type { Records } from './records.ts'

/** Stored records read at once. */
const BATCH_RECORDS = 64

/** An inode that nothing refers to any more, and its data. */
export interface DroppedFile {
  readonly inode: Oid
  readonly data: Oid | undefined
}

/**
 * Drops the records of the first kind. @param files the files that were dropped since the last commit.
 * @returns the objects whose pending records were dropped.
 */
export async function dropFiles(
  pending: PendingRecords,
  records: Records,
  files: readonly DroppedFile[],
): Promise<readonly Oid[]> {
  const data = files.map(file => file.data).filter(oid => oid !== undefined)
  const gone = hasOldParts(pending) ? [...(await closure(data, pending, records))] : []
  for (const { inode } of files) if (pending.get(inode) !== undefined) gone.push(inode)
  for (const oid of gone) pending.remove(oid)
  return gone
}

/** Drops the records of the second kind. @returns the objects whose pending records were dropped. */
export async function dropUnreachable(pending: PendingRecords): Promise<readonly Oid[]> {
  const reached = await reachable(pending)
  if (reached === undefined) return []
  const gone: Oid[] = []
  for (const [oid, { base }] of pending.entries()) if (base === TID_NONE && !reached.has(oid)) gone.push(oid)
  for (const oid of gone) pending.remove(oid)
  return gone
}

/** The classes of a file's objects that refer to others. */
const FILE_CLASSES: ReadonlySet<string> = new Set([
  ZBigFile.CLASS_NAME,
  ZBlk1.CLASS_NAME,
  LO.tree,
  LO.bucket,
  IO.tree,
  IO.bucket,
])

const isData = (className: string): boolean => className === ZDATA || className === ZBLK0

/**
 * Whether a stored object that may be part of a file was changed: only then a dropped file can have records of the first
 * kind alone. Besides data these are the trees of blocks and chunks: a file that grows changes them, and from
 * them its new blocks are reached.
 */
function hasOldParts(pending: PendingRecords): boolean {
  for (const [, { base, className }] of pending.entries())
    if (base !== TID_NONE && (isData(className) || FILE_CLASSES.has(className))) return true
  return false
}

/** The pending ones of all objects that are reached from these. */
async function closure(
  from: readonly Oid[],
  pending: PendingRecords,
  records: Records,
): Promise<ReadonlySet<Oid>> {
  const found = new Set<Oid>()
  const seen = new Set<Oid>(from)
  const waiting = [...from]
  const visit = (refs: readonly Ref[]): void => {
    for (const { oid, className } of refs) {
      if (seen.has(oid)) continue
      seen.add(oid)
      if (!isData(className)) waiting.push(oid)
      else if (pending.get(oid) !== undefined) found.add(oid)
    }
  }
  while (waiting.length > 0) {
    const batch = waiting.splice(-BATCH_RECORDS)
    const stored: Oid[] = []
    for (const oid of batch) {
      const record = pending.get(oid)
      const bytes = record === undefined ? undefined : bytesOf(record.source)
      if (record !== undefined) found.add(oid)
      if (bytes === undefined) stored.push(oid)
      else visit(references(bytes, oid, records.at))
    }
    const revisions = stored.length === 0 ? [] : await records.load(stored)
    for (const [index, oid] of stored.entries()) {
      const revision = revisions[index]
      if (revision !== undefined) visit(references(revision.record, oid, revision.tid))
    }
  }
  return found
}

/** The pending records that are in use; undefined if that cannot be determined. */
async function reachable(pending: PendingRecords): Promise<ReadonlySet<Oid> | undefined> {
  const reached = new Set<Oid>()
  const waiting: Oid[] = []
  const reach = (oid: Oid): void => {
    if (reached.has(oid)) return
    reached.add(oid)
    waiting.push(oid)
  }
  for (const [oid, { base }] of pending.entries()) if (base !== TID_NONE || oid === ROOT_OID) reach(oid)
  const turns = new Turns()
  for (let oid = waiting.pop(); oid !== undefined; oid = waiting.pop()) {
    await turns.pass()
    const record = pending.get(oid)
    if (record === undefined || isData(record.className)) continue
    const bytes = bytesOf(record.source)
    if (bytes === undefined) return undefined
    for (const ref of references(bytes, oid, TID_NONE)) reach(ref.oid)
  }
  return reached
}

/** The bytes of a record; undefined if they are those of a stored one. */
function bytesOf({ head, body, tail = NO_BYTES }: RecordSource): Uint8Array | undefined {
  if (body === undefined) return tail.length === 0 ? head : Buffer.concat([head, tail])
  return isSlice(body) ? undefined : Buffer.concat([head, ...body, tail])
}
