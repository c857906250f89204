/** The kernel's read-ahead. */
import { writeFileSync } from '../../../store/os-files.ts'
import type { Logger } from 'pino'
import { mountedAt } from '../../mount-points/mount-table.ts'

/**
 * Raises a mount's read-ahead from the kernel's default of 128 KiB; needs root, otherwise it stays. The device number
 * comes from the mount table: a stat of the mount would deadlock, because this thread would have to answer it.
 */
export function raiseReadAhead(mountPoint: string, kib: number, log: Logger): void {
  const device = mountedAt(mountPoint)?.device
  if (device === undefined) return
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(kib))
  } catch (error) {
    log.debug({ err: error, device }, 'the read-ahead was not changed')
  }
}
