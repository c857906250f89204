import { statSync, truncateSync, writeFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../programs.ts'
import type { Workload } from '../workload.ts'

/** Ratio of the sparse file's length to the real one's: 100 GiB to 2 GiB. */
const SPARSE_FACTOR = 50

/**
 * From `zblkfs mount` to the first answered stat, of a database with a large sparse file and a real one. The host's figure
 * is Node's own start, the minimum for a daemon in Node.
 */
export const mountTime: Workload = {
  name: "from mount to the first stat (host: Node's start)",
  unit: 'ms',
  places: ['auto', 'zblk1', 'host'],
  ceiling: 'host',
  targets: [],
  run: async ({ zblkfs }, { mib }) => {
    if (zblkfs === undefined) {
      const start = performance.now()
      await run(process.execPath, '--eval', '0')
      return performance.now() - start
    }
    const file = join(zblkfs.directory, 'sparse')
    if (!existsSync(file)) {
      writeFileSync(file, '')
      truncateSync(file, mib * SPARSE_FACTOR * 2 ** 20)
    }
    await zblkfs.unmount()
    const start = performance.now()
    await zblkfs.mount()
    if (statSync(file).size !== mib * SPARSE_FACTOR * 2 ** 20)
      throw new Error(`${file}: not the size that it had`)
    return performance.now() - start
  },
}
