/** The `zblkfs` command. */
import { run } from './run.ts'

process.exitCode = await run(process.argv)
