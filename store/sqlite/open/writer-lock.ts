/**
 * One writer per database among all processes: an flock(2) on a file beside the database, held for the life of the
 * open store. The kernel lets go of it however the process ends, and a pid that was used again fools nobody. The
 * file's content tells people who holds it, and nothing depends on it.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs'
import { LockedError } from '../../errors.ts'
import { tryLock } from './flock.ts'

export class WriterLock {
  readonly #path: string
  readonly #fd: number

  private constructor(path: string, fd: number) {
    this.#path = path
    this.#fd = fd
  }

  /** Takes the lock of `database`. @throws LockedError with what its holder says of itself. */
  static take(database: string, purpose: string): WriterLock {
    const path = `${database}-lock`
    for (;;) {
      const fd = openSync(path, 'a+', 0o600)
      if (!tryLock(fd)) {
        const holder = readHolder(fd)
        closeSync(fd)
        throw new LockedError(database, holder)
      }
      // The holder before us may have removed the file between our opening and our locking it.
      if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) {
        const lock = new WriterLock(path, fd)
        lock.describe(purpose)
        return lock
      }
      closeSync(fd)
    }
  }

  /** Says what this process does with the database, for those who are refused. */
  describe(purpose: string): void {
    ftruncateSync(this.#fd)
    writeSync(this.#fd, `process ${process.pid} (${purpose})`)
  }

  release(): void {
    rmSync(this.#path, { force: true })
    closeSync(this.#fd)
  }
}

function readHolder(fd: number): string {
  const bytes = Buffer.alloc(4096)
  const length = readSync(fd, bytes, 0, bytes.length, 0)
  return length === 0 ? 'another process' : bytes.toString('utf8', 0, length)
}
