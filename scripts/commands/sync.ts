/** `zblkfs sync DIR`: stores everything up to now and prints the transaction; `--to` waits until the mount shows one of another mount. */
import { Command } from 'commander'
import { setTimeout as sleep } from 'node:timers/promises'
import { DURATION_FORMS, parseDurationMs } from '../../store/durations.ts'
import { formatTid, parseTid } from '../../store/ids.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import { CommandError, UsageError } from '../failure.ts'
import { callMount, findMount } from '../find-mount.ts'

/** A commit of everything that is dirty may wait for a slow disk. */
const SYNC_TIMEOUT_MS = 600_000
const WAIT_TEXT = '60s'
const POLL_MS = 50

interface SyncOptions {
  readonly message?: string
  readonly to?: string
  readonly timeout: string
}

export function syncCommand(): Command {
  return new Command('sync')
    .description('Store everything written to a mount so far, and print the transaction id.')
    .argument('<dir>', 'the mount, or a path in it')
    .option('-m, --message <text>', 'describe the transaction')
    .option('--to <tid>', 'wait until the mount shows this transaction of another mount, or a later one')
    .option('--timeout <time>', 'with --to: how long', WAIT_TEXT)
    .action(async (directory: string, { message, to, timeout }: SyncOptions) => {
      if (to !== undefined && message !== undefined)
        throw new UsageError('--to and --message exclude each other')
      const mount = findMount(directory)
      const tid = to === undefined ? await store(mount, message) : await reach(mount, to, timeout)
      console.log(tid)
    })
}

async function store(mount: MountedDirectory, message: string | undefined): Promise<string> {
  const parameters = message === undefined ? {} : { message }
  return (await callMount(mount, 'sync', parameters, SYNC_TIMEOUT_MS)).tid
}

/** Waits until a mount shows a transaction. @returns the one that it shows then. */
async function reach(mount: MountedDirectory, to: string, timeout: string): Promise<string> {
  const wanted = parseTid(to)
  if (wanted === undefined) throw new UsageError(`'${to}' is not a transaction id: 'zblkfs sync' prints one`)
  const timeoutMs = parseDurationMs(timeout)
  if (timeoutMs === undefined) throw new UsageError(`'${timeout}' is not a duration: write ${DURATION_FORMS}`)
  for (const start = performance.now(); ; await sleep(POLL_MS)) {
    const { tid, isReached } = await callMount(mount, 'reach', { tid: formatTid(wanted) }, SYNC_TIMEOUT_MS)
    if (isReached) return tid
    if (performance.now() - start > timeoutMs)
      throw new CommandError(
        `${mount.mountPoint} shows transaction ${tid} after ${timeout}, not ${to} yet: is it one of this database?`,
        { code: 'not-reached' },
      )
  }
}
