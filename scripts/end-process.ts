/**
 * Ends a process whose work is done, in a bounded time. At exit Node waits for its threads, and one of them may be blocked for as long
 * as a network filesystem or the daemon of another mount does not answer.
 */
import { constants } from 'node:os'
import type { Logger } from 'pino'
import { alarm, exitOn } from './system-calls.ts'

const EXIT_TIMEOUT_S = 10
const { SIGALRM } = constants.signals

/**
 * Exits. If threads are still blocked after {@link EXIT_TIMEOUT_S}, a successful process ends by SIGALRM, which systemd counts as success,
 * and a failed one with the exit code 14.
 */
export function endProcess(
  code: number,
  log: Pick<Logger, 'info'>,
  { timeoutS = EXIT_TIMEOUT_S }: { readonly timeoutS?: number } = {},
): never {
  const unfinished = process.getActiveResourcesInfo().filter(kind => kind.startsWith('FSReq'))
  if (unfinished.length > 0)
    log.info(
      { unfinished },
      `file accesses are still in progress: the process ends within ${timeoutS} s regardless`,
    )
  // Without a listener this signal ends the process.
  process.removeAllListeners('SIGALRM')
  if (code !== 0) exitOn(SIGALRM)
  alarm(timeoutS)
  process.exit(code)
}
