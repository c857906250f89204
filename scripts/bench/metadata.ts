/**
 * `npm run bench:metadata [-- --files N] [--database DB]`: the cost of commands, listings and memory with many small files,
 * compared with the targets. Files are made without FUSE (metadata/make-files.ts) unless DB has them already; a given DB
 * is kept for the next run. Needs root.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { databaseBytes, memoryMib } from './measure.ts'
import { commandCost } from './metadata/command-cost.ts'
import { addFiles, changeOneFile, directoryOf } from './metadata/make-files.ts'
import { mountZblkfs } from './places/zblkfs.ts'
import { endOnSignals, run } from './programs.ts'

const ZBLKFS = fileURLToPath(new URL('../zblkfs', import.meta.url))
const MICROSECONDS = 1e6

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '50000' },
    database: { type: 'string' },
    only: { type: 'string', multiple: true },
    json: { type: 'boolean', default: false },
  },
})
const files = Number(values.files)
if (!(files >= 1000)) throw new Error(`--files ${values.files}: at least 1000`)

interface Row {
  readonly what: string
  readonly value: number
  readonly unit: 's' | 'MiB' | 'us' | 'KiB'
  readonly atMost: number
}

const rows: Row[] = []

/** Whether a part is selected: all are, unless some were named. */
const isWanted = (part: string): boolean => values.only === undefined || values.only.includes(part)

function add(what: string, value: number, unit: Row['unit'], atMost: number): void {
  rows.push({ what, value, unit, atMost })
  if (values.json) return
  const verdict = value <= atMost ? '' : `  x ${(value / atMost).toFixed(1)}`
  const shown = value.toFixed(value < 10 ? 2 : 0).padStart(9)
  console.log(`${what.padEnd(44)}${shown} ${unit.padEnd(4)} at most ${atMost}${verdict}`)
}

async function commands(database: string): Promise<void> {
  if (isWanted('df')) add('df', (await commandCost('df', database)).seconds, 's', 0.2)
  if (isWanted('log')) add('log -n 3', (await commandCost('log', '-n', '3', database)).seconds, 's', 0.2)
  if (isWanted('diff')) {
    const path = `${directoryOf(0).join('/')}/file-0`
    const [first] = (await run(ZBLKFS, 'log', '--json', database)).trim().split('\n').slice(-1)
    const { tid } = JSON.parse(first ?? '') as { tid: string }
    add(
      'diff FIRST now PATH',
      (await commandCost('diff', '--db', database, tid, 'now', path)).seconds,
      's',
      0.5,
    )
  }
  if (isWanted('fsck')) {
    const { seconds, peakMib } = await commandCost('fsck', database)
    add('fsck', seconds, 's', (18 * files) / 300_000)
    add('fsck, memory', peakMib, 'MiB', 300)
  }
  if (isWanted('pack')) {
    await commandCost('pack', '--keep', '1h', database)
    const { seconds, peakMib } = await commandCost('pack', '--keep', '1h', database)
    add('pack with nothing to drop', seconds, 's', 1)
    add('pack, memory', peakMib, 'MiB', 300)
  }
}

async function listings(database: string, directory: string): Promise<void> {
  const entries = files + files / 1000
  const zblkfs = await mountZblkfs(database, directory)
  try {
    const timed = async (program: string, ...parameters: readonly string[]): Promise<number> => {
      const startMs = performance.now()
      await run('sh', '-c', `exec "$@" > /dev/null`, 'sh', program, ...parameters)
      return (performance.now() - startMs) / 1000
    }
    const find = await timed('find', directory, '-type', 'f')
    add('find -type f, an entry', (find * MICROSECONDS) / entries, 'us', 10)
    add('resident after find', memoryMib(zblkfs.pid(), 'VmRSS'), 'MiB', 250)
    const ls = await timed('ls', '-lR', directory)
    add('ls -lR, an entry', (ls * MICROSECONDS) / entries, 'us', 20)
    add('resident after ls -lR', memoryMib(zblkfs.pid(), 'VmRSS'), 'MiB', 250)
  } finally {
    await zblkfs.unmount()
  }
}

/** Creates through a mount, as a user does. */
async function creates(database: string, directory: string): Promise<void> {
  const zblkfs = await mountZblkfs(database, directory)
  try {
    const count = Math.min(files, 300_000)
    const script = fileURLToPath(new URL('metadata/create-files.ts', import.meta.url))
    const startMs = performance.now()
    await run(process.execPath, script, directory, String(count))
    add(
      'create through a mount, a file',
      ((performance.now() - startMs) / 1000 / count) * MICROSECONDS,
      'us',
      300,
    )
    await zblkfs.sync()
    add('resident after the creates', memoryMib(zblkfs.pid(), 'VmRSS'), 'MiB', 250)
  } finally {
    await zblkfs.unmount()
  }
}

async function main(): Promise<void> {
  endOnSignals()
  const scratch = mkdtempSync(join(tmpdir(), 'zblkfs-bench-metadata-'))
  const database = values.database ?? join(scratch, 'data.zblk')
  try {
    if (!existsSync(database)) {
      const startMs = performance.now()
      await addFiles(database, 0, files)
      if (!values.json)
        console.log(`${files} files made in ${((performance.now() - startMs) / 1000).toFixed(1)} s`)
    }
    add('stored for a small file', databaseBytes(database) / files / 1024, 'KiB', 0.6)
    if (isWanted('change')) await changeOneFile(database)
    await commands(database)
    if (isWanted('list')) await listings(database, join(scratch, 'mnt'))
    if (isWanted('create')) await creates(join(scratch, 'created.zblk'), join(scratch, 'created'))
    if (values.json) console.log(JSON.stringify({ files, rows }, undefined, 2))
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
