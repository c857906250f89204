/** flock(2): a lock of an open file, which the kernel releases when the last descriptor of that open file is closed. */
import { koffi } from './koffi.ts'

const LOCK_EX = 2
const LOCK_NB = 4

const flock = koffi.load(null).func('int flock(int fd, int operation)') as (
  fd: number,
  operation: number,
) => number

/** Takes the exclusive lock of an open file; false if another open file has it. */
export const tryLock = (fd: number): boolean => flock(fd, LOCK_EX | LOCK_NB) === 0
