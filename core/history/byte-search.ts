/** Whether a transaction changed how often a file has some bytes. Only the changed parts of a file are read. */
import type { Store } from '../../store/store.ts'
import type { Inode } from '../tree/inode.ts'
import { ChangeLookups } from './changed-objects.ts'
import { FileContent } from './file-content.ts'
import { changedRanges, type ByteRange } from './file-difference.ts'
import { inodeAt } from './inode-difference.ts'
import type { MomentView } from './moment-view.ts'
import type { LoggedChange } from './transaction-changes.ts'

/** Both views are those of the change's transaction. A view or a file that is missing has no bytes. */
export async function changesCount(
  store: Store,
  before: MomentView | undefined,
  after: MomentView | undefined,
  change: LoggedChange,
  bytes: Uint8Array,
): Promise<boolean> {
  const was = before && (await formerInode(before, change))
  const is = change.kind === 'removed' ? undefined : after && (await inodeAt(after, change.oid))
  if (before === undefined || after === undefined || was?.oid !== is?.oid)
    return (await countWhole(before, was, bytes)) !== (await countWhole(after, is, bytes))
  if (was === undefined || is === undefined) return false
  await was.activate()
  const old = await FileContent.of(before, was)
  await is.activate()
  const now = await FileContent.of(after, is)
  let difference = 0
  for await (const { lo, hi } of changedParts(store, [before, was], [after, is], BigInt(bytes.length - 1)))
    difference += (await count(now, bytes, lo, hi)) - (await count(old, bytes, lo, hi))
  return difference !== 0
}

/** The file that a change replaced or changed. */
export async function formerInode(before: MomentView, change: LoggedChange): Promise<Inode | undefined> {
  if (change.kind === 'added') return undefined
  return (await inodeAt(before, change.oid)) ?? (await before.find(change.from ?? change.path))
}

/** The changed ranges of a file, wider by `margin` on both sides, apart. */
export async function* changedParts(
  store: Store,
  [before, was]: readonly [MomentView, Inode],
  [after, is]: readonly [MomentView, Inode],
  margin: bigint,
): AsyncGenerator<ByteRange> {
  const lookups = new ChangeLookups(store, before.at, after.at)
  try {
    await was.activate()
    const { fileData, size } = was
    await is.activate()
    const states = [
      { connection: before.connection, data: fileData, size },
      { connection: after.connection, data: is.fileData, size: is.size },
    ] as const
    let open: ByteRange | undefined
    for await (const { lo, hi } of changedRanges(...states, lookups)) {
      const wide = { lo: lo > margin ? lo - margin : 0n, hi: hi + margin }
      if (open === undefined) open = wide
      else if (wide.lo <= open.hi) open = { lo: open.lo, hi: wide.hi }
      else {
        yield open
        open = wide
      }
    }
    if (open !== undefined) yield open
  } finally {
    lookups.close()
  }
}

async function countWhole(
  view: MomentView | undefined,
  inode: Inode | undefined,
  bytes: Uint8Array,
): Promise<number> {
  if (view === undefined || inode === undefined) return 0
  await inode.activate()
  return await count(await FileContent.of(view, inode), bytes, 0n)
}

/** How often a part of a file has the bytes; occurrences may overlap. */
async function count(content: FileContent, bytes: Uint8Array, lo: bigint, hi?: bigint): Promise<number> {
  let found = 0
  let rest = Buffer.alloc(0)
  for await (const piece of content.pieces(lo, hi)) {
    const part = Buffer.concat([rest, piece])
    for (let at = part.indexOf(bytes); at >= 0; at = part.indexOf(bytes, at + 1)) found++
    rest = Buffer.from(part.subarray(Math.max(0, part.length - bytes.length + 1)))
  }
  return found
}
