/** Closes services of a mount other than its files (control socket, metrics ...), after everything is stored. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'

const TIMEOUT_MS = 5000

/**
 * Closes a service; resolves after {@link TIMEOUT_MS} even if it waits for another process or for a filesystem that does not answer. Never
 * rejects.
 */
export async function endService(
  name: string,
  service: { readonly close: () => Promise<void> } | undefined,
  log: Logger,
): Promise<void> {
  if (service === undefined) return
  const timer = new AbortController()
  const isLate = sleep(TIMEOUT_MS, true, { signal: timer.signal }).catch(() => false)
  try {
    if (await Promise.race([service.close().then(() => false), isLate]))
      log.warn(
        { service: name, timeoutMs: TIMEOUT_MS },
        'a service does not close: the mount ends without waiting for it',
      )
  } catch (error) {
    log.warn({ err: error, service: name }, 'closing a service failed')
  } finally {
    timer.abort()
  }
}
