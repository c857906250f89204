/**
 * Operations for a caller other than the kernel (a program that uses the SDK on a mounted database): after each change
 * the kernel's copies of what was changed are invalidated, before the caller receives the reply.
 */
import { constants } from 'node:fs'
import type { KernelCaches } from './inodes/kernel-caches.ts'
import type { Caller, Ino, Name, Operations } from './operations.ts'
import { overridden } from '../overridden.ts'

const { O_TRUNC } = constants

/** @param operations the filesystem's operations. @param caches invalidates the kernel's caches of that filesystem. */
export function besideKernel(operations: Operations, caches: KernelCaches): Operations {
  const changed = { ...nameChanges(operations, caches), ...inodeChanges(operations, caches) }
  return overridden<Operations, Operations>(operations, changed)
}

/** Changes of names. */
function nameChanges(operations: Operations, caches: KernelCaches): Partial<Operations> {
  const inoOf = (parent: Ino, name: Name, caller: Caller): Promise<Ino | undefined> =>
    findIno(operations, parent, name, caller)
  const removing = async (
    parent: Ino,
    name: Name,
    caller: Caller,
    remove: () => Promise<void>,
  ): Promise<void> => {
    const ino = await inoOf(parent, name, caller)
    await remove()
    caches.invalidateEntry(parent, name)
    if (ino !== undefined) caches.invalidateStat(ino)
    await caches.settled()
  }
  const naming = async <T>(parent: Ino, name: Name, make: () => Promise<T>): Promise<T> => {
    const made = await make()
    caches.invalidateEntry(parent, name)
    await caches.settled()
    return made
  }
  return {
    symlink: (parent, name, ...rest) => naming(parent, name, () => operations.symlink(parent, name, ...rest)),
    mknod: (parent, name, ...rest) => naming(parent, name, () => operations.mknod(parent, name, ...rest)),
    mkdir: (parent, name, ...rest) => naming(parent, name, () => operations.mkdir(parent, name, ...rest)),
    create: (parent, name, mode, flags, ...rest) =>
      naming(parent, name, async () => {
        const made = await operations.create(parent, name, mode, flags, ...rest)
        // The name may have been there already.
        if (flags & O_TRUNC) caches.invalidateRange(made.entry.attributes.ino, 0n, 0n)
        return made
      }),
    link: (ino, parent, name, caller, replaces) =>
      naming(parent, name, async () => {
        const replaced = replaces === true ? await inoOf(parent, name, caller) : undefined
        const entry = await operations.link(ino, parent, name, caller, replaces)
        for (const changed of [ino, replaced]) if (changed !== undefined) caches.invalidateStat(changed)
        return entry
      }),
    unlink: (parent, name, caller) =>
      removing(parent, name, caller, () => operations.unlink(parent, name, caller)),
    rmdir: (parent, name, caller) =>
      removing(parent, name, caller, () => operations.rmdir(parent, name, caller)),
    rename: async (parent, name, newParent, newName, flags, caller) => {
      const inos = [await inoOf(parent, name, caller), await inoOf(newParent, newName, caller)]
      await operations.rename(parent, name, newParent, newName, flags, caller)
      caches.invalidateEntry(parent, name)
      caches.invalidateEntry(newParent, newName)
      if (flags.aside !== undefined) caches.invalidateEntry(newParent, flags.aside)
      for (const ino of inos) if (ino !== undefined) caches.invalidateStat(ino)
      await caches.settled()
    },
  }
}

/** The inode that a name leads to; undefined if there is none. */
async function findIno(
  operations: Operations,
  parent: Ino,
  name: Name,
  caller: Caller,
): Promise<Ino | undefined> {
  try {
    const { attributes } = await operations.lookup(parent, name, caller)
    operations.forget(attributes.ino, 1)
    return attributes.ino
  } catch {
    return undefined
  }
}

/** Changes of attributes and data. */
function inodeChanges(operations: Operations, caches: KernelCaches): Partial<Operations> {
  const settled = async <T>(result: T): Promise<T> => {
    await caches.settled()
    return result
  }
  return {
    setattr: async (ino, changes, caller) => {
      const attributes = await operations.setattr(ino, changes, caller)
      if (changes.size === undefined) caches.invalidateStat(ino)
      else caches.invalidateRange(ino, 0n, 0n)
      return await settled(attributes)
    },
    open: async (ino, flags, caller, keepsSetuid) => {
      const file = await operations.open(ino, flags, caller, keepsSetuid)
      if (flags & O_TRUNC) caches.invalidateRange(ino, 0n, 0n)
      return await settled(file)
    },
    write: async (ino, fh, off, data, keepsSetuid) => {
      const length = await operations.write(ino, fh, off, data, keepsSetuid)
      caches.invalidateRange(ino, off, BigInt(data.length))
      return await settled(length)
    },
    append: async (ino, fh, data, keepsSetuid) => {
      const end = await operations.append(ino, fh, data, keepsSetuid)
      const length = BigInt(data.length)
      caches.invalidateRange(ino, end - length, length)
      return await settled(end)
    },
    allocate: async (ino, fh, mode, off, len, keepsSetuid) => {
      await operations.allocate(ino, fh, mode, off, len, keepsSetuid)
      caches.invalidateRange(ino, off, len)
      await caches.settled()
    },
    copyFileRange: async (from, to, len, keepsSetuid) => {
      const copied = await operations.copyFileRange(from, to, len, keepsSetuid)
      caches.invalidateRange(to.ino, to.off, copied)
      return await settled(copied)
    },
    setxattr: async (ino, ...rest) => {
      await operations.setxattr(ino, ...rest)
      caches.invalidateStat(ino)
      await caches.settled()
    },
    removexattr: async (ino, ...rest) => {
      await operations.removexattr(ino, ...rest)
      caches.invalidateStat(ino)
      await caches.settled()
    },
  }
}
