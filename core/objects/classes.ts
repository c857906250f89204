/** The classes of objects, by their names in records. */
import { IOBTree, LOBTree, OOBTree } from '../btree/tree.ts'
import { IOBucket, LOBucket, OOBucket } from '../btree/bucket.ts'
import { IO, LO, OO } from '../btree/kind.ts'
import { PersistentMapping } from './persistent-mapping.ts'
import type { PersistentClass } from './persistent.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import { ZBlk0, ZBlk1, ZData } from '../zblk/zblk.ts'

const CLASSES: ReadonlyMap<string, PersistentClass> = new Map<string, PersistentClass>([
  [PersistentMapping.CLASS_NAME, PersistentMapping],
  [IO.tree, IOBTree],
  [IO.bucket, IOBucket],
  [LO.tree, LOBTree],
  [LO.bucket, LOBucket],
  [OO.tree, OOBTree],
  [OO.bucket, OOBucket],
  [ZBigFile.CLASS_NAME, ZBigFile],
  [ZBlk0.CLASS_NAME, ZBlk0],
  [ZBlk1.CLASS_NAME, ZBlk1],
  [ZData.CLASS_NAME, ZData],
])

/** The class for a `module.name`; undefined if none is known. */
export const classNamed = (className: string): PersistentClass | undefined => CLASSES.get(className)
