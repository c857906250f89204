/** A log file of bounded size: at the bound it is renamed to NAME.1, replacing the previous one. */
import { closeSync, constants, fstatSync, writeSync } from 'node:fs'
import { openSync, renameSync } from '../store/os-files.ts'

const SIZE_MAX_BYTES = 8 << 20

/** Flags to open a log file, without following a link. */
export const LOG_FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW

export class RotatingFile {
  readonly #path: string
  #fd: number
  #sizeBytes: number

  constructor(path: string) {
    this.#path = path
    this.#fd = openSync(path, LOG_FLAGS, 0o600)
    this.#sizeBytes = fstatSync(this.#fd).size
  }

  /** Appends a line. */
  write(line: string): void {
    try {
      if (this.#sizeBytes >= SIZE_MAX_BYTES) this.#rotate()
      this.#sizeBytes += writeSync(this.#fd, line)
    } catch {
      // A line that cannot be written is lost: a full disk must not end the daemon.
    }
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`)
    const fd = openSync(this.#path, LOG_FLAGS, 0o600)
    closeSync(this.#fd)
    this.#fd = fd
    this.#sizeBytes = 0
  }
}
