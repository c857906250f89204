/** The calls that change the present using the past. */
import { parseTid, formatTid, type Tid } from '../../store/ids.ts'
import { ReadOnlyError, StoreError } from '../../store/errors.ts'
import type { CallHandlers } from './control-server.ts'
import type { HistoryOperations, ServedFileSystem } from '../../core/file-system/served-file-system.ts'

export type HistoryCallName = 'tag' | 'untag' | 'undo' | 'restore' | 'restoreAs' | 'clone'
type HistoryCalls = Pick<CallHandlers, HistoryCallName>

/** @param canInvalidate whether the driver can invalidate the kernel's caches. */
export function historyCalls(fileSystem: ServedFileSystem, canInvalidate: boolean): HistoryCalls {
  const history = (): HistoryOperations => historyOf(fileSystem)
  return {
    tag: async ({ name, when, force, holds }, by) => {
      const tag = await history().tag(name, when, force, by, holds)
      return { tid: formatTid(tag.tid) }
    },
    untag: async ({ name }, by) => {
      await history().untag(name, by)
      return {}
    },
    undo: async ({ tid, upTo = tid }, by) => {
      assertInvalidating(canInvalidate)
      return { tid: formatTid(await history().undo(transactionOf(tid), transactionOf(upTo), by)) }
    },
    restore: async ({ paths, at, deletes }, by) => {
      assertInvalidating(canInvalidate)
      return { tid: formatTid(await history().restore(paths, at, deletes, by)) }
    },
    restoreAs: async ({ path, at, to, force }, by) => ({
      tid: formatTid(await history().restoreAs(path, at, to, canInvalidate && force, by)),
    }),
    clone: async ({ source, target, at }, by) => ({
      tid: formatTid(await history().clone(source, target, at, by)),
    }),
  }
}

/** @throws StoreError */
function transactionOf(text: string): Tid {
  const tid = parseTid(text)
  if (tid === undefined)
    throw new StoreError(`${text} is not a transaction id: these have 16 hex digits`, { code: 'usage' })
  return tid
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
