/** `zblkfs df DB|DIR`: what a database's room is used for, and what a pack would give back. */
import { decodedPath, printable } from '../../core/printable.ts'
import { Command } from 'commander'
import { FileHistory } from '../../core/pack/file-history.ts'
import { fileSizes } from '../../core/pack/file-sizes.ts'
import { mark } from '../../core/pack/mark.ts'
import { historyStart, momentNamed, newestUpTo, taggedMoments } from '../../core/pack/moments.ts'
import { formatTid } from '../../store/ids.ts'
import { keptMoments } from '../../store/kept-moments.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { Measuring, OnMeasured } from '../../store/capabilities.ts'
import { DEFAULT_RETENTION, formatRetention } from '../../store/retention.ts'
import type { Store } from '../../store/store.ts'
import { UsageError } from '../failure.ts'
import { ProgressBar } from '../progress-bar.ts'
import { findTarget } from '../serving-mount.ts'
import { formatBytes } from '../units.ts'

interface Options {
  readonly files?: boolean
  readonly to?: string
  readonly json?: boolean
}

/** In bytes. The rest of the file is indexes and the ends of pages. */
interface Usage {
  readonly database: string
  readonly fileBytes: number
  /** Unused pages. */
  readonly freeBytes: number
  /** Needed by the present state. */
  readonly liveBytes: number
  /** Needed by past states alone, or not needed any more. */
  readonly historyBytes: number
  /** How long history is kept (store/retention.ts). */
  readonly history: string
  /** The moment to which `packFreesBytes` refers. */
  readonly packTo: string
  readonly packFreesBytes: number
}

export function dfCommand(): Command {
  return new Command('df')
    .description(
      "Show what a database's room is used for: present, history, free; and what a pack would give back.",
    )
    .argument('<db|dir>', 'the database, or a mount of it')
    .option('--files', 'list the files, with the bytes stored of each, for the present and for its history')
    .option(
      '--to <moment>',
      "the moment from which a pack would keep history (by default, as 'zblkfs history' has it)",
    )
    .option('--json', 'print JSON; with --files one line per file')
    .action(async (path: string, options: Options) => {
      const { database } = await findTarget(path)
      const store = await openDatabase(database, { readOnly: true })
      try {
        if (options.files === true) await printFiles(store, options.json === true)
        const usage = await measure(store, options.to)
        console.log(
          options.json === true ? JSON.stringify(usage) : describe(usage, options.to ?? usage.history),
        )
      } finally {
        await store.close()
      }
    })
}

async function printFiles(store: Store, json: boolean): Promise<void> {
  const reader = measuringOf(store).reader()
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
      for await (const { path, historyBytes } of history.gone())
        printFile({ path, sizeBytes: 0, storedBytes: 0, historyBytes, gone: true }, json)
    } finally {
      history.close()
    }
  } finally {
    bar.stop()
    reader.close()
  }
}

/** In bytes. `gone`: the file was removed. */
interface FileUsage {
  readonly path: string
  readonly sizeBytes: number
  readonly storedBytes: number
  readonly historyBytes: number
  readonly gone?: true
}

function printFile({ path, ...usage }: FileUsage, json: boolean): void {
  const name = decodedPath(path)
  if (json) return console.log(JSON.stringify({ path: name, ...usage }))
  const { storedBytes, sizeBytes, historyBytes, gone } = usage
  const stored = `${formatBytes(storedBytes).padStart(10)} of ${formatBytes(sizeBytes).padEnd(10)}`
  console.log(
    `${stored} ${formatBytes(historyBytes).padStart(10)} of history  ${printable(name)}${gone === true ? ' (removed)' : ''}`,
  )
}

/** @throws UsageError if a store cannot tell what its room is used for. */
function measuringOf(store: Store): Measuring {
  const { measuring } = store.capabilities
  if (measuring === undefined) throw new UsageError(`${store.name} cannot be measured`)
  return measuring
}

async function measure(store: Store, to: string | undefined): Promise<Usage> {
  const measuring = measuringOf(store)
  const retention = (await store.capabilities.retaining?.retention()) ?? DEFAULT_RETENTION
  const reader = measuring.reader()
  const bar = new ProgressBar()
  try {
    const progressOf =
      (what: string): OnMeasured =>
      (done, total) =>
        bar.update(what, done, total)
    const kept = await reader.kept()
    const wanted = await newestUpTo(
      store,
      to === undefined ? historyStart(retention) : await momentNamed(store, to),
    )
    const from = wanted > kept.from ? wanted : kept.from
    const all = await measuring.all()
    const present = keptMoments(await store.lastTid(), [])
    const live = await measuring.left(present, mark, progressOf('objects, the present'))
    const tags = [...kept.earlier, ...(await taggedMoments(store))]
    const left = await measuring.left(keptMoments(from, tags), mark, progressOf('objects, the past'))
    const { totalBytes, freeBytes } = await measuring.space()
    return {
      database: store.name,
      fileBytes: totalBytes,
      freeBytes,
      liveBytes: live.bytes,
      historyBytes: all.bytes - live.bytes,
      history: formatRetention(retention),
      packTo: formatTid(from),
      packFreesBytes: freeBytes + Math.max(0, all.bytes - left.bytes),
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
    [historyBytes, 'history, and what is not used any more'],
    [other, 'indexes and the ends of pages'],
    [freeBytes, 'free pages'],
  ]
  const rows = lines.map(([bytes, what]) => `${formatBytes(bytes).padStart(10)}  ${what}`)
  return [
    ...rows,
    `a pack to ${to} (transaction ${usage.packTo}) would give back about ${formatBytes(usage.packFreesBytes)}`,
  ].join('\n')
}
