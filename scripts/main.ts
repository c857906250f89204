/** The `zblkfs` command. */
import { paceCollections } from '../store/gc-pacing.ts'
import { commandLine } from './arguments.ts'
import { run } from './run.ts'

paceCollections()
/** Commands that do not end successfully when the reader of their output has ended, as `zblkfs log | head` does. */
const NEED_THEIR_READER: readonly (string | undefined)[] = ['mount', 'send']
if (!NEED_THEIR_READER.includes(process.argv[2]))
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit()
  })
process.exitCode = await run(commandLine(process.argv))
