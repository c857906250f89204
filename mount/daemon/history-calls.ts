/** The calls that change the present using the past. */
import { parseTid, formatTid } from '../../store/ids.ts'
import { ReadOnlyError, StoreError } from '../../store/errors.ts'
import type { CallHandlers } from './control-server.ts'
import type { HistoryOperations, ServedFileSystem } from '../../core/file-system/served-file-system.ts'

export type HistoryCallName = 'tag' | 'untag' | 'undo' | 'restore' | 'clone'
type HistoryCalls = Pick<CallHandlers, HistoryCallName>

/** @param canInvalidate whether the driver can invalidate the kernel's caches. */
export function historyCalls(fileSystem: ServedFileSystem, canInvalidate: boolean): HistoryCalls {
  const history = (): HistoryOperations => historyOf(fileSystem)
  return {
    tag: async ({ name, when, force }) => {
      const tag = await history().tag(name, when, force)
      return { tid: formatTid(tag.tid) }
    },
    untag: async ({ name }) => {
      await history().untag(name)
      return {}
    },
    undo: async ({ tid }) => {
      assertInvalidating(canInvalidate)
      const undone = parseTid(tid)
      if (undone === undefined)
        throw new StoreError(`${tid} is not a transaction id: these have 16 hex digits`)
      return { tid: formatTid(await history().undo(undone)) }
    },
    restore: async ({ path, at, to, force }) => {
      if (to === undefined) assertInvalidating(canInvalidate)
      return {
        tid: formatTid(await history().restore(path, at, to, canInvalidate && (to === undefined || force))),
      }
    },
    clone: async ({ source, target, at }) => ({ tid: formatTid(await history().clone(source, target, at)) }),
  }
}

/** @throws ReadOnlyError */
export function historyOf({ history }: ServedFileSystem): HistoryOperations {
  if (history === undefined) throw new ReadOnlyError('this mount is read-only')
  return history
}

/** @throws StoreError if the kernel would keep showing outdated content. */
export function assertInvalidating(canInvalidate: boolean): void {
  if (!canInvalidate)
    throw new StoreError("the driver of this mount cannot invalidate the kernel's caches", {
      code: 'driver-limit',
    })
}
