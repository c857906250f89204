/** `zblkfs pack DB|DIR`: drops history before a moment and what nothing reaches, mounted or not. */
import { receivedError } from '../../mount/daemon/control-protocol.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import type { PackProgress, PackReport } from '../../core/pack/messages.ts'
import { pack } from '../../core/pack/pack.ts'
import { momentNamed, taggedMoments } from '../../core/pack/moments.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { CommandError, UsageError } from '../failure.ts'
import { callMount } from '../find-mount.ts'
import { ProgressBar } from '../progress-bar.ts'
import { findTarget } from '../serving-mount.ts'
import { formatBytes, parseDurationMs } from '../units.ts'

const DEFAULT_KEEP = '7d'
const CALL_TIMEOUT_MS = 60_000
const POLL_MS = 200

const PHASES: Readonly<Record<PackProgress['phase'], string>> = {
  mark: 'objects, finding what is in use',
  sweep: 'objects, dropping what is not',
  log: 'bytes, closing up what is left',
  'give back': 'bytes, giving room back',
}

interface Options {
  readonly keep?: string
  readonly before?: string
  readonly json?: boolean
}

export function packCommand(): Command {
  return new Command('pack')
    .description(
      'Drop old history and what nothing reaches, and give the room back. Works while it is mounted.',
    )
    .argument('<db|dir>', 'the database, or a mount of it')
    .option('--keep <time>', 'keep so much history, as 7d or 12h; 0: only the present (7d by default)')
    .option('--before <moment>', 'keep history from this transaction, time or tag on')
    .option('--json', 'print what was done as JSON')
    .addHelpText(
      'after',
      '\nTags and moments in use are kept, however old. It may be interrupted at any time.',
    )
    .action(async (path: string, options: Options) => {
      const before = momentOf(options)
      const { database, mount } = await findTarget(path)
      const report = mount === undefined ? await packHere(database, before) : await packMounted(mount, before)
      console.log(options.json === true ? JSON.stringify(report, undefined, 2) : describe(database, report))
    })
}

/** What history is kept from, as a moment; undefined: as the mount does, or {@link DEFAULT_KEEP}. */
function momentOf({ keep, before }: Options): string | undefined {
  if (keep !== undefined && before !== undefined)
    throw new UsageError('--keep and --before both say what to keep: give one of them')
  if (keep === undefined) return before
  const keepMs = parseDurationMs(keep)
  if (keepMs === undefined) throw new UsageError(`--keep ${keep} is no time: write it as 7d, 12h or 0`)
  return `${keepMs / 1000}s`
}

async function packHere(database: string, before = DEFAULT_KEEP): Promise<PackReport> {
  const store = await openSqliteStore(database, { purpose: 'being packed' })
  const bar = new ProgressBar()
  const interrupted = new AbortController()
  const interrupt = (): void => interrupted.abort(stopped())
  process.once('SIGINT', interrupt)
  try {
    return await pack(store, {
      from: await momentNamed(store, before),
      moments: () => taggedMoments(store),
      onProgress: progress => show(bar, progress),
      signal: interrupted.signal,
    })
  } finally {
    process.off('SIGINT', interrupt)
    bar.stop()
    await store.close()
  }
}

async function packMounted(mount: MountedDirectory, before: string | undefined): Promise<PackReport> {
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

const stopped = (): CommandError =>
  new CommandError('the pack was ended early: what it has done is done, and the next one does the rest')

const show = (bar: ProgressBar, { phase, done, total }: PackProgress): void =>
  bar.update(PHASES[phase], done, total)

function describe(database: string, report: PackReport): string {
  const { bytesBefore, bytesAfter, revisionsDropped, objectsDropped, durationMs } = report
  const freed = formatBytes(Math.max(0, bytesBefore - bytesAfter))
  return (
    `${database}: ${freed} came back, ${formatBytes(bytesAfter)} are left ` +
    `(${revisionsDropped} old states and ${objectsDropped} unused objects dropped in ${(durationMs / 1000).toFixed(1)} s)`
  )
}
