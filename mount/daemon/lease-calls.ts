/** The control calls about other mounts of the same database. */
import type { ServedFileSystem } from '../../core/file-system/served-file-system.ts'
import { formatTid, parseTid, TID_MAX } from '../../store/ids.ts'
import type { CallHandlers } from './control-server.ts'

export const leaseCalls = (fileSystem: ServedFileSystem): Pick<CallHandlers, 'reach' | 'rejoin'> => ({
  reach: async ({ tid: wanted }) => {
    const tid = await fileSystem.lastTid()
    const isReached = tid >= (parseTid(wanted) ?? TID_MAX)
    if (isReached) await fileSystem.settled?.()
    return { tid: formatTid(tid), isReached }
  },
  rejoin: async () => {
    await fileSystem.rejoin?.()
    return { tid: formatTid(await fileSystem.lastTid()) }
  },
})
