/** The Python that has ZODB's own libraries: Debian's, when the packages are installed. */
import { execFileSync } from 'node:child_process'

const hasLibraries = (command: string): boolean => {
  try {
    execFileSync(command, ['-c', 'import BTrees, persistent, zodbpickle'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

export const PYTHON = ['python3', '/usr/bin/python3'].find(hasLibraries)

/** Runs a script, and parses its output as JSON. */
export function runPython(script: string, parameters: readonly string[], input = ''): unknown {
  if (PYTHON === undefined) throw new Error('there is no Python with BTrees, persistent and zodbpickle')
  return JSON.parse(
    execFileSync(PYTHON, [script, ...parameters], { input, encoding: 'utf8', maxBuffer: 2 ** 30 }),
  )
}
