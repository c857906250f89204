/** `zblkfs df DB|DIR`: where a database's room goes, and what a pack would give back. */
import { Command } from 'commander'
import { FileHistory } from '../../core/pack/file-history.ts'
import { fileSizes } from '../../core/pack/file-sizes.ts'
import { measureAll, measureKept, type OnMeasured } from '../../core/pack/measure.ts'
import { momentNamed, newestUpTo, taggedMoments } from '../../core/pack/moments.ts'
import { formatTid } from '../../store/ids.ts'
import { keptMoments } from '../../store/kept-moments.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { PackReader } from '../../store/sqlite/pack/pack-reader.ts'
import type { SqliteStore } from '../../store/sqlite/sqlite-store.ts'
import { ProgressBar } from '../progress-bar.ts'
import { findTarget } from '../serving-mount.ts'
import { formatBytes } from '../units.ts'

interface Options {
  readonly files?: boolean
  readonly to: string
  readonly json?: boolean
}

/** In bytes. What the file has beside these is indexes and the ends of pages. */
interface Usage {
  readonly database: string
  readonly fileBytes: number
  /** In pages that nothing uses. */
  readonly freeBytes: number
  /** What the present state needs. */
  readonly liveBytes: number
  /** What only the past needs, and what nothing needs any more. */
  readonly historyBytes: number
  /** The moment that `packFreesBytes` is about. */
  readonly packTo: string
  readonly packFreesBytes: number
}

export function dfCommand(): Command {
  return new Command('df')
    .description(
      "Show where a database's room goes: present, history, free; and what a pack would give back.",
    )
    .argument('<db|dir>', 'the database, or a mount of it')
    .option('--files', 'list the files, with what is stored of each, now and of its past')
    .option('--to <moment>', 'the moment that a pack would keep history from', '7d')
    .option('--json', 'as JSON; with --files a line for each file')
    .action(async (path: string, options: Options) => {
      const { database } = await findTarget(path)
      const store = await openSqliteStore(database, { readOnly: true })
      try {
        if (options.files === true) await printFiles(store, options.json === true)
        const usage = await measure(store, options.to)
        console.log(options.json === true ? JSON.stringify(usage) : describe(usage, options.to))
      } finally {
        await store.close()
      }
    })
}

async function printFiles(store: SqliteStore, json: boolean): Promise<void> {
  const reader = new PackReader(store.name)
  const bar = new ProgressBar()
  try {
    const history = await FileHistory.measure(reader, (done, total) =>
      bar.update('objects, by file', done, total),
    )
    bar.stop()
    try {
      for await (const { oid, path, sizeBytes, storedBytes } of fileSizes(store))
        printFile(
          { path, sizeBytes: Number(sizeBytes), storedBytes, historyBytes: history.bytesOf(oid) },
          json,
        )
      for (const { path, historyBytes } of history.gone())
        printFile({ path, sizeBytes: 0, storedBytes: 0, historyBytes, gone: true }, json)
    } finally {
      history.close()
    }
  } finally {
    bar.stop()
    reader.close()
  }
}

/** In bytes. `gone`: only the past has it. */
interface FileUsage {
  readonly path: string
  readonly sizeBytes: number
  readonly storedBytes: number
  readonly historyBytes: number
  readonly gone?: true
}

function printFile({ path, ...usage }: FileUsage, json: boolean): void {
  const name = Buffer.from(path, 'latin1').toString()
  if (json) return console.log(JSON.stringify({ path: name, ...usage }))
  const { storedBytes, sizeBytes, historyBytes, gone } = usage
  const stored = `${formatBytes(storedBytes).padStart(10)} of ${formatBytes(sizeBytes).padEnd(10)}`
  console.log(
    `${stored} ${formatBytes(historyBytes).padStart(10)} of history  ${name}${gone === true ? ' (removed)' : ''}`,
  )
}

async function measure(store: SqliteStore, to: string): Promise<Usage> {
  const reader = new PackReader(store.name)
  const bar = new ProgressBar()
  try {
    const progressOf =
      (what: string): OnMeasured =>
      (_, done, total) =>
        bar.update(what, done, total)
    const kept = await store.keptMoments()
    const wanted = await newestUpTo(store, await momentNamed(store, to))
    const from = wanted > kept.from ? wanted : kept.from
    const all = measureAll(reader)
    const { lastTid } = reader.totals()
    const live = await measureKept(reader, keptMoments(lastTid, []), progressOf('objects, the present'))
    const tags = [...kept.earlier, ...(await taggedMoments(store))]
    const left = await measureKept(reader, keptMoments(from, tags), progressOf('objects, the past'))
    const { total, free } = reader.fileBytes()
    return {
      database: store.name,
      fileBytes: total,
      freeBytes: free,
      liveBytes: live.bytes,
      historyBytes: all.bytes - live.bytes,
      packTo: formatTid(from),
      packFreesBytes: free + Math.max(0, all.bytes - left.bytes),
    }
  } finally {
    bar.stop()
    reader.close()
  }
}

function describe(usage: Usage, to: string): string {
  const { fileBytes, freeBytes, liveBytes, historyBytes } = usage
  const other = Math.max(0, fileBytes - freeBytes - liveBytes - historyBytes)
  const lines: readonly (readonly [number, string])[] = [
    [fileBytes, usage.database],
    [liveBytes, 'the present state'],
    [historyBytes, 'history, and what nothing uses any more'],
    [other, 'indexes and the ends of pages'],
    [freeBytes, 'free pages'],
  ]
  const rows = lines.map(([bytes, what]) => `${formatBytes(bytes).padStart(10)}  ${what}`)
  return [
    ...rows,
    `a pack to ${to} (transaction ${usage.packTo}) would give back about ${formatBytes(usage.packFreesBytes)}`,
  ].join('\n')
}
