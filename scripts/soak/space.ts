/** Checks a database's size against its contents: live data and kept history, plus a tenth. */
import { setTimeout as sleep } from 'node:timers/promises'
import { runZblkfs } from '../../test/tools/run-zblkfs.ts'

/** In bytes, by `zblkfs df`. */
export interface SpaceUse {
  readonly fileBytes: number
  /** Bytes needed by the present state and the kept history. */
  readonly neededBytes: number
  readonly liveBytes: number
}

const POLL_MS = 2000
/** A mount does not start a pack for less garbage. */
const SPARE_MIN_BYTES = 4 << 20

/** @throws Error if the command fails. */
export async function spaceOf(database: string, historyMs: number): Promise<SpaceUse> {
  const to = `${historyMs / 1000}s`
  const { stdout, stderr, exitCode } = await runZblkfs('df', '--exact', '--json', '--to', to, database)
  if (exitCode !== 0) throw new Error(`zblkfs df: exit code ${exitCode}: ${stderr}`)
  const usage = JSON.parse(stdout) as {
    readonly fileBytes: number
    readonly freeBytes: number
    readonly liveBytes: number
    readonly historyBytes: number
    readonly packFreesBytes: number
  }
  const droppedBytes = usage.packFreesBytes - usage.freeBytes
  return {
    fileBytes: usage.fileBytes,
    neededBytes: usage.liveBytes + usage.historyBytes - droppedBytes,
    liveBytes: usage.liveBytes,
  }
}

export const isWithinATenth = ({ fileBytes, neededBytes }: SpaceUse): boolean =>
  fileBytes <= neededBytes + Math.max(neededBytes / 10, SPARE_MIN_BYTES)

/** Waits until the background packs have finished, or the time is over; returns the space then. */
export async function settledSpace(
  database: string,
  historyMs: number,
  timeoutMs: number,
): Promise<SpaceUse & { readonly waitedMs: number }> {
  const startMs = performance.now()
  for (;;) {
    const use = await spaceOf(database, historyMs)
    const waitedMs = Math.round(performance.now() - startMs)
    if (isWithinATenth(use) || waitedMs > timeoutMs) return { ...use, waitedMs }
    await sleep(POLL_MS)
  }
}
