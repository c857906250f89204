/** `zblkfs df DB|DIR`: what a database's space is used for, and what a pack would free. */
import { decodedPath, printable } from '../../core/printable.ts'
import { Command } from 'commander'
import { legibleUsage, measuredUsage, summedUsage, type Usage } from '../../core/pack/usage.ts'
import { momentNamed, retentionOf, superblockAt } from '../../core/pack/moments.ts'
import { packPlan, planOfRetention } from '../../core/pack/plan.ts'
import type { DamageError } from '../../store/errors.ts'
import { formatTid, TID_NONE } from '../../store/ids.ts'
import { openStore } from '../../store/open-store.ts'
import type { Measuring } from '../../store/capabilities.ts'
import { formatRetention } from '../../store/retention.ts'
import type { Store } from '../../store/store.ts'
import { explain } from '../advice.ts'
import { EXIT_FAILURE, UsageError } from '../failure.ts'
import { ProgressBar } from '../progress-bar.ts'
import { findTarget } from '../target.ts'
import { lacksKey } from '../history-source.ts'
import { formatBytes } from '../units.ts'
import { warn } from '../say.ts'

interface Options {
  readonly files?: boolean
  readonly exact?: boolean
  readonly to?: string
  readonly json?: boolean
}

/** In bytes. */
interface Report extends Omit<Usage, 'packFreesBytes'>, Partial<Legible> {
  readonly database: string
  /** How long history is kept (store/retention.ts). */
  readonly history: string
  readonly objects: number
  readonly revisions: number
  /** Of what the database is a branch, and since which transaction. Sizes are those of the branch alone. */
  readonly branch?: { readonly database: string; readonly base: string }
  /** How new data is stored; absent where a store has no such property. */
  readonly compression?: string
  /** Of all that was compressed: its length, and that on disk. Absent if nothing was. */
  readonly compressed?: { readonly bytes: number; readonly storedBytes: number }
}

/** What only records say: absent for an encrypted database without its key. */
interface Legible {
  readonly packFreesBytes: number
  /** The moment to which `packFreesBytes` refers. */
  readonly packTo: string
  /** Files and directories of the present state. */
  readonly inodes: number
}

export function dfCommand(): Command {
  return new Command('df')
    .description(
      "Show what a database's space is used for: present, history, free; and what a pack would free.",
    )
    .argument('<db|dir>', 'the database, or a mount of it')
    .option('--files', 'list the files, with the bytes stored of each')
    .option('--exact', 'look at every object: counts removed files, and with --files the history of each')
    .option(
      '--to <moment>',
      "the moment from which a pack would keep history (default: as 'zblkfs history' says)",
    )
    .option('--json', 'print JSON; with --files, one line per file')
    .action(async (path: string, options: Options) => {
      const { database } = await findTarget(path)
      const store = await openStore(database, { readOnly: true, warn, mayLackKey: true })
      try {
        if (store.isForeign) return await printForeign(store, options)
        const { json = false, exact = false } = options
        if (lacksKey(store)) assertLegible(store, options)
        if (options.files === true) await (exact ? printHistories : printFiles)(store, json)
        const usage = await measure(store, options.to, exact)
        console.log(json ? JSON.stringify(usage) : describe(usage, options.to ?? usage.history))
        if (lacksKey(store))
          warn(
            'no key was given: the number of files and what a pack would give back are encrypted; removed files count as present',
          )
      } finally {
        await store.close()
      }
    })
}

/** @throws UsageError for an option that needs what only a zblkfs database keeps. */
async function printForeign(store: Store, { files, exact, to, json }: Options): Promise<void> {
  if (files === true || exact === true || to !== undefined)
    throw new UsageError(`${store.name} is a ZODB database: --files, --exact and --to need a zblkfs database`)
  const { describeForeignUsage, foreignUsage } = await import('../foreign/usage.ts')
  const usage = await foreignUsage(store)
  console.log(json === true ? JSON.stringify(usage) : describeForeignUsage(usage))
}

/** @throws UsageError for an option that needs the key. */
function assertLegible({ name }: Store, { files, exact, to }: Options): void {
  if ((files ?? exact ?? to) === undefined) return
  throw new UsageError(`${name} is encrypted, and no key was given: --files, --exact and --to need it`)
}

/** Says which file cannot be read; the others are listed, and the exit code is that of a failure. */
function reportDamage(path: string, error: DamageError): void {
  warn(`${printable(decodedPath(path))} cannot be read: ${explain(error)}`)
  process.exitCode = EXIT_FAILURE
}

async function printFiles(store: Store, json: boolean): Promise<void> {
  const { fileSizes } = await import('../../core/pack/file-sizes.ts')
  for await (const { path, sizeBytes, storedBytes } of fileSizes(store, reportDamage))
    printFile({ path, sizeBytes: Number(sizeBytes), storedBytes }, json)
}

async function printHistories(store: Store, json: boolean): Promise<void> {
  const { fileSizes } = await import('../../core/pack/file-sizes.ts')
  const { FileHistory } = await import('../../core/pack/file-history.ts')
  const reader = measuringOf(store).reader()
  const bar = new ProgressBar()
  try {
    const history = await FileHistory.measure(reader, (done, total) =>
      bar.update('objects, by file', done, total),
    )
    bar.stop()
    try {
      for await (const { oid, path, sizeBytes, storedBytes } of fileSizes(store, reportDamage))
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
  readonly historyBytes?: number
  readonly gone?: true
}

function printFile({ path, ...usage }: FileUsage, json: boolean): void {
  const name = decodedPath(path)
  if (json) return console.log(JSON.stringify({ path: name, ...usage }))
  const { storedBytes, sizeBytes, historyBytes, gone } = usage
  const stored = `${formatBytes(storedBytes).padStart(10)} of ${formatBytes(sizeBytes).padEnd(10)}`
  const history = historyBytes === undefined ? '' : ` ${formatBytes(historyBytes).padStart(10)} of history`
  console.log(`${stored}${history}  ${printable(name)}${gone === true ? ' (removed)' : ''}`)
}

/** @throws UsageError if a store cannot measure its use of space. */
function measuringOf(store: Store): Measuring {
  const { measuring } = store.capabilities
  if (measuring === undefined) throw new UsageError(`${store.name} cannot be measured`)
  return measuring
}

async function measure(store: Store, to: string | undefined, exact: boolean): Promise<Report> {
  const measuring = measuringOf(store)
  const usage = lacksKey(store) ? await legibleUsage(measuring) : await recordedUsage(store, to, exact)
  const { objects, all } = await measuring.sums()
  const { framed } = await measuring.space()
  const { branch } = store.capabilities
  const compression = await store.capabilities.compressing?.compression()
  return {
    database: store.name,
    ...usage,
    history: formatRetention(await retentionOf(store)),
    objects,
    revisions: all.revisions,
    ...(branch !== undefined && { branch: { database: branch.database, base: formatTid(branch.base) } }),
    ...(compression !== undefined && { compression }),
    ...(framed !== undefined && {
      compressed: { bytes: framed.unitBytes, storedBytes: framed.storedBytes },
    }),
  }
}

async function recordedUsage(store: Store, to: string | undefined, exact: boolean): Promise<Usage & Legible> {
  const measuring = measuringOf(store)
  const plan =
    to === undefined
      ? await planOfRetention(store, measuring, await retentionOf(store))
      : await packPlan(store, measuring, await momentNamed(store, to))
  const bar = new ProgressBar()
  try {
    const usage = exact
      ? await measuredUsage(store, measuring, plan, what => bar.update.bind(bar, what))
      : await summedUsage(store, measuring, plan)
    const superblock = await superblockAt(store, await store.lastTid())
    const inodes = superblock === undefined ? 0 : (await superblock.usage()).inodes
    return { ...usage, packTo: formatTid(plan.after.from), inodes }
  } finally {
    bar.stop()
  }
}

function describe(usage: Report, to: string): string {
  const { fileBytes, freeBytes, liveBytes, historyBytes, branch } = usage
  const other = Math.max(0, fileBytes - freeBytes - liveBytes - historyBytes)
  const lines: readonly (readonly [number, string])[] = [
    [fileBytes, printable(usage.database)],
    [liveBytes, 'the present state'],
    [historyBytes, 'history, and what is not used any more'],
    [other, 'indexes and the ends of pages'],
    [freeBytes, 'free pages'],
  ]
  const rows = lines.map(([bytes, what]) => `${formatBytes(bytes).padStart(10)}  ${what}`)
  const files = usage.inodes === undefined ? '' : `${usage.inodes} files and directories; `
  return [
    ...rows,
    ...describeCompression(usage),
    `${files}${usage.revisions} states of ${usage.objects} objects`,
    ...(branch === undefined
      ? describePack(usage, to)
      : [`a branch of ${branch.database} since ${branch.base}: its history stays until it is deleted`]),
  ].join('\n')
}

function describePack({ packTo, packFreesBytes }: Report, to: string): readonly string[] {
  if (packFreesBytes === undefined) return []
  // All history may be younger than the setting says.
  const moment = packTo === formatTid(TID_NONE) ? '' : ` (transaction ${packTo})`
  return [`a pack to ${to}${moment} would give back about ${formatBytes(packFreesBytes)}`]
}

function describeCompression({ compression = 'off', compressed }: Report): readonly string[] {
  if (compressed === undefined)
    return compression === 'off' ? [] : [`new data is compressed (${compression})`]
  const { bytes, storedBytes } = compressed
  const ratio = (bytes / Math.max(1, storedBytes)).toFixed(2)
  const now = compression === 'off' ? 'new data is not compressed' : `new data: ${compression}`
  return [`compressed ${ratio} to 1: ${formatBytes(bytes)} of data in ${formatBytes(storedBytes)}; ${now}`]
}
