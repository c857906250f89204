/** `zblkfs pack DB|DIR`: drops history before a moment and unreachable objects, mounted or not. */
import { receivedError } from '../../mount/daemon/control-protocol.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { pack, type PackResult } from '../../core/pack/pack.ts'
import { historyStart, momentNamed, retentionOf, taggedMoments } from '../../core/pack/moments.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import type { PackProgress } from '../../store/capabilities.ts'
import { CommandError, UsageError } from '../failure.ts'
import { callMount } from '../find-mount.ts'
import { ProgressBar, type ProgressUnit } from '../progress-bar.ts'
import { findTarget } from '../target.ts'
import { packPlan, planOfRetention } from '../../core/pack/plan.ts'
import { printPreview } from '../pack-preview.ts'
import { openDatabase } from '../../store/open-store.ts'
import { printable } from '../../core/printable.ts'
import { warn } from '../say.ts'
import { formatTid, parseTid, timeFromTid, TID_NONE, type Tid } from '../../store/ids.ts'
import { formatTime } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'
import { retention } from '../retention.ts'
import { thinnedMoments } from '../../core/pack/thinning.ts'
import { formatBytes } from '../units.ts'

const CALL_TIMEOUT_MS = 60_000
const POLL_MS = 200

const PHASES: Readonly<Record<PackProgress['phase'], readonly [what: string, unit: ProgressUnit]>> = {
  mark: ['objects, finding those in use', 'count'],
  sweep: ['objects, dropping the others', 'count'],
  bulk: ['data, freeing space', 'bytes'],
  'give back': ['the index, freeing space', 'bytes'],
}

interface Options {
  readonly keep?: string
  readonly before?: string
  readonly dryRun?: boolean
  readonly json?: boolean
}

export function packCommand(): Command {
  return new Command('pack')
    .description(
      'Drop old history and unreachable objects, and free their space. Works while the database is mounted.',
    )
    .argument('<db|dir>', 'the database, or a mount of it')
    .option(
      '--keep <time>',
      "history to keep: 7d, 12h, ...; all; 0 for only the present (default: as 'zblkfs history' says)",
    )
    .option('--before <moment>', 'keep history from this transaction, time or tag on')
    .option(
      '-n, --dry-run',
      'list the moments and files that would be dropped, and how much space that would free',
    )
    .option('--json', 'print the result as JSON; with --dry-run, one line per moment and file')
    .addHelpText(
      'after',
      '\nTags and moments in use are always kept. A pack may be interrupted at any time. With --dry-run, --keep may also be a schedule' +
        "\n(all=7d,daily=30d), to try it before 'zblkfs history' sets it.",
    )
    .action(async (path: string, options: Options) => {
      const { database, mount } = await findTarget(path, options.dryRun === true ? 'read' : 'change')
      if (options.dryRun === true) return await preview(database, options)
      const before = momentOf(options)
      const report = mount === undefined ? await packHere(database, before) : await packMounted(mount, before)
      console.log(options.json === true ? JSON.stringify(report, undefined, 2) : describe(database, report))
    })
}

/** @throws UsageError */
function assertOneBound(keep: string | undefined, before: string | undefined): void {
  if (keep !== undefined && before !== undefined)
    throw new UsageError('--keep and --before exclude each other: use one of them')
}

/** The moment from which history is kept; undefined for what the database's retention says. */
function momentOf({ keep, before }: Options): string | undefined {
  assertOneBound(keep, before)
  if (keep === undefined) return before
  const { keepMs, tiers } = retention(`--keep ${keep}`, keep)
  if (tiers !== undefined)
    throw new UsageError(
      `--keep ${keep}: a schedule is set with 'zblkfs history --keep', and a pack without --keep obeys it`,
    )
  return keepMs === Number.POSITIVE_INFINITY ? formatTid(TID_NONE) : `${keepMs}ms`
}

/** Prints what a pack would do. What a mount has not stored yet, and what it reads itself, is not considered. */
async function preview(database: string, { keep, before, json = false }: Options): Promise<void> {
  assertOneBound(keep, before)
  const store = await openDatabase(database, { readOnly: true, warn })
  try {
    const { measuring } = store.capabilities
    if (measuring === undefined) throw new CommandError(`${store.name} cannot be measured`)
    const kept = keep === undefined ? await retentionOf(store) : retention(`--keep ${keep}`, keep)
    const plan =
      before === undefined
        ? await planOfRetention(store, measuring, kept)
        : await packPlan(store, measuring, await momentNamed(store, before))
    await printPreview(store, measuring, plan, json)
  } finally {
    await store.close()
  }
}

async function packHere(database: string, before: string | undefined): Promise<PackResult> {
  const store = await openDatabase(database, { purpose: 'being packed' })
  if ((await store.capabilities.lineage?.sourceMoments()) !== undefined)
    warn(
      `${database} is a copy of another database: if it keeps less than that, streams from there are refused; 'zblkfs receive --pack' packs it as its source was`,
    )
  const bar = new ProgressBar()
  const interrupted = new AbortController()
  const interrupt = (): void => interrupted.abort(stopped())
  process.once('SIGINT', interrupt)
  try {
    return await pack(store, {
      from: before === undefined ? await keptFrom(store) : await momentNamed(store, before),
      moments: async () => [
        ...(await taggedMoments(store)),
        ...(before === undefined ? await thinnedMoments(store, await retentionOf(store)) : []),
      ],
      onProgress: progress => show(bar, progress),
      signal: interrupted.signal,
    })
  } finally {
    process.off('SIGINT', interrupt)
    bar.stop()
    await store.close()
  }
}

async function packMounted(mount: MountedDirectory, before: string | undefined): Promise<PackResult> {
  const bar = new ProgressBar()
  let isInterrupted = false
  const interrupt = (): void => void (isInterrupted = true)
  process.once('SIGINT', interrupt)
  try {
    await callMount(mount, 'pack', before === undefined ? {} : { before }, CALL_TIMEOUT_MS)
    for (;;) {
      if (isInterrupted) {
        await callMount(mount, 'packCancel', {}, CALL_TIMEOUT_MS)
        throw stopped()
      }
      const status = await callMount(mount, 'packStatus', {}, CALL_TIMEOUT_MS)
      if (status.state === 'done') return status.report
      if (status.state === 'failed') throw receivedError(status.error)
      if (status.state === 'running' && status.progress !== undefined) show(bar, status.progress)
      await sleep(POLL_MS)
    }
  } finally {
    process.off('SIGINT', interrupt)
    bar.stop()
  }
}

/** The beginning of the history that the database's retention keeps. */
const keptFrom = async (store: Store): Promise<Tid> => historyStart(store, await retentionOf(store))

const stopped = (): CommandError =>
  new CommandError('the pack was interrupted; its completed steps are kept, and the next pack does the rest')

const show = (bar: ProgressBar, { phase, done, total }: PackProgress): void => {
  const [what, unit] = PHASES[phase]
  bar.update(what, done, total, unit)
}

function describe(database: string, report: PackResult): string {
  const { bytesBefore, bytesAfter, bulkBytesFreed, revisionsDropped, objectsDropped, durationMs } = report
  // A filesystem may count space as used until it has stored that it is free; others may have written meanwhile.
  const freed = formatBytes(Math.max(bytesBefore - bytesAfter, bulkBytesFreed))
  return (
    `${printable(database)}: ${freed} freed, ${formatBytes(bytesAfter)} left ` +
    `(${revisionsDropped} old states and ${objectsDropped} unused objects dropped in ${(durationMs / 1000).toFixed(1)} s)\n` +
    describeHistory(report)
  )
}

function describeHistory({ historyFromBefore, historyFrom }: PackResult): string {
  if (historyFrom === historyFromBefore) return 'no moment of the history was dropped'
  const time = formatTime(timeFromTid(parseTid(historyFrom) ?? TID_NONE))
  return `the history begins at ${time} (transaction ${historyFrom}): earlier moments were dropped, but for tags and those in use`
}
