/** The `zblkfs` command. */
import { paceCollections } from '../store/gc-pacing.ts'
import { run } from './run.ts'

paceCollections()
process.exitCode = await run(process.argv)
