/** The `zblkfs` command. */
import { paceCollections } from '../store/gc-pacing.ts'
import { commandLine } from './arguments.ts'
import { run } from './run.ts'

paceCollections()
// The reader of the output has ended (`zblkfs log | head`): nothing is left to do, but for a mount in the foreground.
if (process.argv[2] !== 'mount')
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit()
  })
process.exitCode = await run(commandLine(process.argv))
