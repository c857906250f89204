import koffi from 'koffi'

const LOCK_EX = 2
const LOCK_NB = 4
const flock = koffi.load(null).func('int flock(int fd, int operation)') as (
  fd: number,
  operation: number,
) => number

/** Takes flock(2)'s lock of an open file alone, if nobody has it. The kernel lets go of it with the descriptor. */
export const tryLock = (fd: number): boolean => flock(fd, LOCK_EX | LOCK_NB) === 0
