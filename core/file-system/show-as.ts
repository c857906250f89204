/** Applies the mount options uid=, gid= and umask= to operations' results. Stored attributes do not change. */
import type { Attributes, Entry, Operations } from './operations.ts'
import { overridden } from '../overridden.ts'

/** The owner and group shown for every file, and the permission bits to hide; absent: as stored. */
export interface ShownOwnership {
  readonly uid?: number
  readonly gid?: number
  readonly umask?: number
}

const PERMISSIONS = 0o777

/** The same operations, with the attributes in their results replaced. */
export function showAs(operations: Operations, shown: ShownOwnership): Operations {
  if (shown.uid === undefined && shown.gid === undefined && shown.umask === undefined) return operations
  const { uid, gid, umask = 0 } = shown
  const show = (attributes: Attributes): Attributes => ({
    ...attributes,
    mode: attributes.mode & ~(umask & PERMISSIONS),
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
  })
  const showEntry = (entry: Entry): Entry => ({ ...entry, attributes: show(entry.attributes) })
  const changed: Partial<Operations> = {
    lookup: async (...parameters) => showEntry(await operations.lookup(...parameters)),
    getattr: async (...parameters) => show(await operations.getattr(...parameters)),
    setattr: async (...parameters) => show(await operations.setattr(...parameters)),
    symlink: async (...parameters) => showEntry(await operations.symlink(...parameters)),
    mknod: async (...parameters) => showEntry(await operations.mknod(...parameters)),
    mkdir: async (...parameters) => showEntry(await operations.mkdir(...parameters)),
    link: async (...parameters) => showEntry(await operations.link(...parameters)),
    create: async (...parameters) => {
      const { entry, file } = await operations.create(...parameters)
      return { entry: showEntry(entry), file }
    },
  }
  if (operations.createUnnamed !== undefined) {
    const createUnnamed = operations.createUnnamed.bind(operations)
    changed.createUnnamed = async (...parameters) => {
      const { entry, file } = await createUnnamed(...parameters)
      return { entry: showEntry(entry), file }
    }
  }
  return overridden<Operations, Operations>(operations, changed)
}
