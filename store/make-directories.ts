import { mkdirSync } from './os-files.ts'
import { dirname } from 'node:path'
import { systemCode } from './errors.ts'

/**
 * Creates a directory and its missing parents, for this user alone. Node's own recursive mkdir does not terminate on a filesystem that
 * answers ENOENT to mkdir(2), as /proc does.
 * @throws the errors of mkdir(2)
 */
export function makeDirectories(path: string): void {
  try {
    make(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw error
    makeDirectories(dirname(path))
    make(path)
  }
}

function make(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error
  }
}
