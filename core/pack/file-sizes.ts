import type { Oid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { Connection } from '../objects/connection.ts'
import { Directory } from '../tree/directory.ts'
import { Inode } from '../tree/inode.ts'
import { Superblock } from '../tree/superblock.ts'

const CACHE_BYTES = 8 << 20
const BATCH_ENTRIES = 256
const TYPE_BITS = 0o170000
const DIRECTORY = 0o040000
const REGULAR = 0o100000

export interface FileSize {
  /** Of its inode. */
  readonly oid: Oid
  /** From the root on, one character per byte. */
  readonly path: string
  /** The length that programs see. */
  readonly sizeBytes: bigint
  /** What is stored of it now. */
  readonly storedBytes: number
}

/** The files of the present state, directory by directory. A file with several names comes several times. */
export async function* fileSizes(store: Store): AsyncGenerator<FileSize> {
  const connection = await Connection.open(store, { at: await store.lastTid(), cacheSizeBytes: CACHE_BYTES })
  const superblock = await Superblock.open(connection)
  const root = Inode.at(connection, await superblock.rootOid())
  yield* filesBelow(connection, root, '')
}

async function* filesBelow(connection: Connection, inode: Inode, path: string): AsyncGenerator<FileSize> {
  await inode.activate()
  const directory = Directory.of(connection, inode)
  let last: string | undefined
  for (;;) {
    const entries = await directory.after(last, BATCH_ENTRIES)
    for (const { name, oid } of entries) {
      const child = Inode.at(connection, oid)
      await child.activate()
      const type = child.mode & TYPE_BITS
      const childPath = `${path}/${name}`
      if (type === REGULAR) yield { oid, path: childPath, sizeBytes: child.size, storedBytes: child.stored }
      else if (type === DIRECTORY) yield* filesBelow(connection, child, childPath)
      last = name
    }
    if (entries.length === 0) return
  }
}
