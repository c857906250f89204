/**
 * Keeps the keys of a process out of core dumps: the kernel writes none of a process that is not dumpable, and lets no other process of its
 * user read its memory.
 */
import { StoreError } from './errors.ts'
import { koffi } from './koffi.ts'

const PR_SET_DUMPABLE = 4
let isForbidden = false

/** Called before a process has a key. @throws StoreError */
export function forbidDumps(): void {
  if (isForbidden) return
  const prctl = koffi
    .load(null)
    .func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)') as (
    option: number,
    ...values: readonly number[]
  ) => number
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) !== 0)
    throw new StoreError('the kernel does not keep this process out of core dumps')
  isForbidden = true
}
