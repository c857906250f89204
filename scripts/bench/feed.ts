/**
 * Delay between a durable transaction and its delivery to another process by `zblkfs watch` (which reads the database concurrently with the
 * writer), compared with polling a plain file every millisecond; then the send of a change of 1 % of a large file (send.ts): `npm run bench:feed`.
 */
import { spawn } from 'node:child_process'
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { open } from '../../index.ts'
import { benchSend } from './send.ts'

const ZBLKFS = fileURLToPath(new URL('../zblkfs', import.meta.url))
const TRANSACTIONS = 500
const PAUSE_MS = 15
const MEDIAN = 0.5
const TAIL = 0.99

const scratch = mkdtempSync(join(tmpdir(), 'zblkfs-bench-feed-'))
const db = await open(join(scratch, 'data.zblk'), { create: true })
const watch = spawn(ZBLKFS, ['watch', db.name, '--json', '--since', await db.sync()], {
  stdio: ['ignore', 'pipe', 'inherit'],
})
try {
  const seenAt = new Map<string, number>()
  createInterface({ input: watch.stdout }).on('line', line => {
    const { tid, changes } = JSON.parse(line) as { readonly tid: string; readonly changes?: number }
    if (changes !== undefined) seenAt.set(tid, performance.now())
  })
  while (seenAt.size === 0) {
    await db.files.writeFile('/warm', String(performance.now()))
    await db.sync()
    await sleep(PAUSE_MS)
  }
  const latencies: number[] = []
  for (let i = 0; i < TRANSACTIONS; i++) {
    await db.files.writeFile(`/file-${i % 100}`, String(i))
    const tid = await db.sync()
    const durableAt = performance.now()
    while (!seenAt.has(tid)) await sleep(1)
    latencies.push(Math.max(0, (seenAt.get(tid) ?? 0) - durableAt))
    await sleep(PAUSE_MS)
  }
  print('zblkfs watch', latencies)
  print('a file, polled every ms', await polledFile())
  await benchSend(scratch)
} finally {
  watch.kill()
  await db.close()
  rmSync(scratch, { recursive: true, force: true })
}

async function polledFile(): Promise<number[]> {
  const path = join(scratch, 'plain')
  writeFileSync(path, '')
  const latencies: number[] = []
  for (let i = 0; i < TRANSACTIONS; i++) {
    const { size } = statSync(path)
    setTimeout(() => appendFileSync(path, 'x'), PAUSE_MS)
    const writtenAt = performance.now() + PAUSE_MS
    while (statSync(path).size === size) await sleep(1)
    latencies.push(Math.max(0, performance.now() - writtenAt))
  }
  return latencies
}

function print(name: string, latencies: readonly number[]): void {
  const sorted = latencies.toSorted((a, b) => a - b)
  const at = (part: number): string => `${(sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(1)} ms`
  console.log(`${name.padEnd(26)} p50 ${at(MEDIAN).padStart(9)}   p99 ${at(TAIL).padStart(9)}`)
}
