/** How far ahead of a reader the kernel asks for data. */
import { writeFileSync } from 'node:fs'
import type { Logger } from 'pino'
import { mountedAt } from '../../mount-points/mount-table.ts'

/**
 * Raises a mount's read-ahead, which the kernel sets to 128 KiB, where we may (root). The device number comes from
 * the list of mounts: a stat of the mount would have to be answered by this very thread.
 */
export function raiseReadAhead(mountPoint: string, kib: number, log: Logger): void {
  const device = mountedAt(mountPoint)?.device
  if (device === undefined) return
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(kib))
  } catch (error) {
    log.debug({ err: error, device }, 'the read-ahead stays as it is')
  }
}
