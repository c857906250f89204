/** The operations by name, each with a number, so that counters are arrays. */
import type { Operations } from './operations.ts'

// prettier-ignore
export const OPERATION_NAMES = [
  'lookup', 'forget', 'getattr', 'setattr', 'readlink', 'symlink', 'mknod', 'mkdir', 'link', 'unlink', 'rmdir',
  'rename', 'open', 'create', 'createUnnamed', 'read', 'write', 'release', 'fsync', 'allocate', 'seek',
  'copyFileRange', 'opendir', 'readdir', 'readdirplus', 'releasedir', 'fsyncdir', 'statfs', 'getxattr',
  'setxattr', 'listxattr', 'removexattr',
] as const satisfies readonly (keyof Operations)[]

export type OperationName = (typeof OPERATION_NAMES)[number]

const numbers: Partial<Record<OperationName, number>> = {}
for (const [number, name] of OPERATION_NAMES.entries()) numbers[name] = number

/** The number of each operation: its index in {@link OPERATION_NAMES}. */
export const OPERATION_NUMBER = numbers as Readonly<Record<OperationName, number>>

/** A number for each operation, in an object by name; those that are 0 are left out. */
export function byOperation(values: ArrayLike<number>): Readonly<Record<string, number>> {
  const found: [string, number][] = []
  for (const [number, name] of OPERATION_NAMES.entries()) {
    const value = values[number] ?? 0
    if (value !== 0) found.push([name, value])
  }
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)))
}
