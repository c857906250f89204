/**
 * `npm run bench:floods [-- --seconds 8] [KIND...]`: the daemon's resident memory while four processes repeat one kind of
 * operation as fast as they can, and 15 s later, and the longest turn of its event loop, in processor time (turns.ts). One mount
 * serves all kinds, so that leaked memory adds up. The limits are 200 MiB above the bounds of the caches and of dirty data, and
 * 100 ms.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { memoryMib } from './measure.ts'
import { mountZblkfs } from './places/zblkfs.ts'
import { endOnSignals, run } from './programs.ts'

const FLOODS = join(import.meta.dirname, 'floods.py')
const SAMPLE_MS = 100
const REST_MS = 15_000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '8' } },
})

endOnSignals()
const root = mkdtempSync(join(tmpdir(), 'zblkfs-bench-floods-'))
const turns = join(root, 'turns')
process.env['TURNS_FILE'] = turns
process.env['NODE_OPTIONS'] = `--import=${pathToFileURL(join(import.meta.dirname, 'turns.ts')).href}`
try {
  const zblkfs = await mountZblkfs(join(root, 'db'), join(root, 'mnt'))
  try {
    const pid = zblkfs.pid()
    console.log(
      `${'flood'.padEnd(14)} operations  longest turn ms  peak MiB  after ${REST_MS / 1000} s   (at the start ${memoryMib(pid, 'VmRSS').toFixed(0)})`,
    )
    const kinds =
      positionals.length > 0 ? positionals : (await run('python3', FLOODS, '--list')).trim().split('\n')
    for (const kind of kinds) {
      let peak = 0
      writeFileSync(turns, '')
      const sampling = setInterval(() => (peak = Math.max(peak, memoryMib(pid, 'VmRSS'))), SAMPLE_MS)
      const output = await run('python3', FLOODS, kind, join(root, 'mnt'), values.seconds)
      clearInterval(sampling)
      await sleep(REST_MS)
      const longest = Math.max(...readFileSync(turns, 'utf8').split('\n').map(Number))
      const after = memoryMib(pid, 'VmRSS')
      console.log(
        `${kind.padEnd(14)} ${output.trim().padStart(10)}  ${longest.toFixed(0).padStart(15)}  ${peak.toFixed(0).padStart(8)}  ${after.toFixed(0).padStart(10)}`,
      )
    }
  } finally {
    await zblkfs.unmount()
  }
} finally {
  rmSync(root, { recursive: true, force: true })
}
