/**
 * Ends a process whose work is done, in a bounded time. At exit Node waits for its threads, and one of them may be blocked for as long
 * as a network filesystem or the daemon of another mount does not answer.
 */
import type { Logger } from 'pino'
import { koffi } from '../store/koffi.ts'

const EXIT_TIMEOUT_S = 10

/** Exits; by SIGALRM if threads are still blocked after {@link EXIT_TIMEOUT_S}. */
export function endProcess(code: number, log: Logger): never {
  const unfinished = process.getActiveResourcesInfo().filter(kind => kind.startsWith('FSReq'))
  if (unfinished.length > 0)
    log.info(
      { unfinished },
      `file accesses are still in progress: the process ends within ${EXIT_TIMEOUT_S} s regardless`,
    )
  // Without a listener this signal ends the process.
  process.removeAllListeners('SIGALRM')
  const alarm = koffi.load(null).func('unsigned int alarm(unsigned int seconds)') as (
    seconds: number,
  ) => number
  alarm(EXIT_TIMEOUT_S)
  process.exit(code)
}
