/** Sizes, times and stored bytes of imported files. */
import { Turns } from '../../turns.ts'
import type { Connection } from '../../objects/connection.ts'
import { readingForeign } from '../damage.ts'
import { openForeignFile, type ForeignFile } from '../file.ts'
import { CorruptRecordError, ObjectNotFoundError } from '../../../store/errors.ts'
import type { Oid } from '../../../store/ids.ts'
import type { ImportMap } from './import-map.ts'
import type { NamedMoment } from './imported-names.ts'

/**
 * Sets size and time of the changed files.
 * @param ours the connection to our database.
 * @param isLast whether it is the last moment: then every file gets its exact stored size.
 */
export async function updateSizes(
  { source, tree, timeNs }: NamedMoment,
  ours: Connection,
  map: ImportMap,
  isLast: boolean,
): Promise<void> {
  if (isLast) await ours.prepare()
  for (const { file, inode, stored, isTouched } of map.files(isLast)) {
    if (inode === undefined) continue
    const found = await openIfThere(source, file)
    if (found === undefined) continue
    const exact = isLast ? await readingForeign(source, () => storedBytes(source, ours, map, file)) : stored
    await tree.update(inode, { size: found.size, stored: exact, ...(isTouched && { timeNs }) })
    map.settleFile(file, exact)
  }
}

/** A file; undefined if it does not exist at that moment, or if an object on which its size depends is missing. */
export async function openIfThere(source: Connection, file: Oid): Promise<ForeignFile | undefined> {
  try {
    return await readingForeign(source, () => openForeignFile(source, file))
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return undefined
    throw error
  }
}

/** @throws CorruptRecordError about the source's file, which has the same damage as its copy. */
async function storedBytes(source: Connection, ours: Connection, map: ImportMap, file: Oid): Promise<number> {
  let bytes = 0
  const turns = new Turns()
  try {
    const { object, data } = await openForeignFile(ours, map.get(file)?.ours ?? file)
    for await (const [blk] of object.blktab.range()) {
      await turns.pass()
      bytes += await unlessMissing(() => data.storedBytes(blk), 0)
    }
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return bytes
    if (!(error instanceof CorruptRecordError)) throw error
    throw new CorruptRecordError(file, source.at, `a block of the file: ${error.reason}`, { cause: error })
  }
  return bytes
}

async function unlessMissing<T>(read: () => Promise<T>, otherwise: T): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return otherwise
    throw error
  }
}
