/** The `zblkfs` command. */
import { writeFileSync } from '../store/os-files.ts'
import { paceCollections } from '../store/gc-pacing.ts'
import { commandLine } from './arguments.ts'
import { run } from './run.ts'

paceCollections()
nameProcess()
/** Commands that do not end successfully when the reader of their output has ended, as `zblkfs log | head` does. */
const NEED_THEIR_READER: readonly (string | undefined)[] = ['mount', 'send']
if (!NEED_THEIR_READER.includes(process.argv[2]))
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit()
  })
process.exitCode = await run(commandLine(process.argv))

/** A transaction names the program of the process that made it, which would be Node.js's. */
function nameProcess(): void {
  try {
    writeFileSync('/proc/self/comm', 'zblkfs')
  } catch {
    // The log names node then.
  }
}
