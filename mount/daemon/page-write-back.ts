/**
 * Has the kernel write back the dirty pages of a mount: syncfs(2) in a separate process, as a thread of the daemon that
 * waits for the daemon's own answers could not be killed with it.
 */
import { execFile } from 'node:child_process'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Logger } from 'pino'
import { startable } from '../../store/os-command.ts'

const run = promisify(execFile)
const TIMEOUT_MS = 30_000

/** @returns resolves when every page that was dirty has been sent; rejects if `sync -f` fails. */
export function pageWriteBack(mountPoint: string, log: Logger): () => Promise<void> {
  const [program = '', ...parameters] = startable(['sync', '-f', mountPoint])
  return async () => {
    try {
      await run(program, parameters, { timeout: TIMEOUT_MS, killSignal: 'SIGKILL' })
    } catch (error) {
      log.warn({ err: error }, 'dirty pages of mapped files could not be collected')
      throw error
    }
    // Lets the driver read the last requests first.
    await nextTurn()
  }
}
