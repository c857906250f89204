/** The command line as bytes: texts as store/os-text.ts has them. */
import { splitAtNul } from '../store/os-command.ts'
import { readFileSync } from '../store/os-files.ts'

/** A command line as Node has it, with what Node could not decode in its place. */
export function commandLine(argv: readonly string[]): readonly string[] {
  if (!argv.some(text => text.includes('\ufffd'))) return argv
  const all = splitAtNul(readFileSync('/proc/self/cmdline'))
  // Node's own options come before the script.
  const given = argv.length - 2
  return [...argv.slice(0, 2), ...all.slice(all.length - given)]
}
