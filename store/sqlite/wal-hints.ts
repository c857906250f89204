/**
 * Hints that another process is committing to a database: something was written to its WAL. A transaction can be read some milliseconds
 * after the first hint, once it is synced. SQLite's index of the WAL, which makes it visible, is mapped memory, whose changes cause no
 * notification.
 */
import type { FSWatcher } from 'node:fs'
import { watch } from '../os-files.ts'
import type { SubscribeHints } from '../polling.ts'

/** Time between attempts to watch a WAL that does not exist, as no process has the database open for writing. */
const RETRY_MS = 250

/** @param database the path of the database. Where files cannot be watched there are no hints. */
export function walHints(database: string): SubscribeHints {
  return onHint => {
    let watcher: FSWatcher | undefined
    const detach = (): void => {
      watcher?.close()
      watcher = undefined
    }
    /** Returns whether it begins to watch. */
    const attach = (): boolean => {
      if (watcher !== undefined) return false
      try {
        watcher = watch(`${database}-wal`, { persistent: false }, event => {
          // The file was removed or replaced.
          if (event === 'rename') detach()
          onHint()
        })
        watcher.on('error', detach)
        return true
      } catch {
        detach()
        return false
      }
    }
    attach()
    const timer = setInterval(() => {
      if (attach()) onHint()
    }, RETRY_MS)
    timer.unref()
    return () => {
      clearInterval(timer)
      detach()
    }
  }
}
