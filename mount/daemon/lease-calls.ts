/** The control calls about other mounts of the same database. */
import type { ServedFileSystem, UnstoredPath } from '../../core/file-system/served-file-system.ts'
import { formatTid, parseTid, TID_MAX } from '../../store/ids.ts'
import type { EncodedPath } from './call-results.ts'
import type { CallHandlers } from './control-server.ts'

/** Maximum length of the paths in an answer: well below that of a line. */
const ANSWER_MAX_LENGTH = 1 << 18

export const leaseCalls = (
  fileSystem: ServedFileSystem,
): Pick<CallHandlers, 'reach' | 'rejoin' | 'unstored'> => {
  /** Undefined after its end was sent: a client that has read only a part of it causes a new list. */
  let unstored: readonly UnstoredPath[] | undefined
  return {
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
    unstored: async ({ from }) => {
      if (from === 0 || unstored === undefined) unstored = (await fileSystem.unstoredPaths?.()) ?? []
      const found = unstored
      const paths: EncodedPath[] = []
      let length = 0
      for (let at = from; at < found.length && length < ANSWER_MAX_LENGTH; at++) {
        const encoded = encode(found[at])
        if (encoded === undefined) break
        length += JSON.stringify(encoded).length
        paths.push(encoded)
      }
      const isEnd = from + paths.length >= found.length
      if (isEnd) unstored = undefined
      return { paths, isEnd }
    },
  }
}

const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64')

const encode = (unstored: UnstoredPath | undefined): EncodedPath | undefined =>
  unstored && {
    kind: unstored.kind,
    path: base64(unstored.path),
    ...(unstored.kind === 'renamed' && { from: base64(unstored.from) }),
  }
