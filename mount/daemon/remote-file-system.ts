/** The filesystem of a mount, used by another process through the mount's daemon. */
import { parseTid, formatTid, type Tid } from '../../store/ids.ts'
import { CodedError } from '../../store/errors.ts'
import type { HistoryOperations, ServedFileSystem } from '../../core/file-system/served-file-system.ts'
import type { MountedDirectory } from '../mount-points/mount-table.ts'
import { controlPaths } from './control-path.ts'
import { callDaemon, type CallName, type Parameters, type Result } from './control-protocol.ts'
import { ownerOf } from './mounts.ts'
import { RemoteOperations } from './remote-operations.ts'
import { RemoteTransaction } from './transaction-client.ts'

/** All dirty data is stored first, which may be slow. */
const TIMEOUT_MS = 3_600_000

/**
 * Connects to the daemon of a mount. `close` ends the connection; the mount stays.
 * @throws NoAnswerError; CodedError if the daemon refuses.
 */
export async function connectFileSystem(mount: MountedDirectory): Promise<ServedFileSystem> {
  const paths = await controlPaths(mount.device, ownerOf(mount))
  const remote = await RemoteOperations.connect(paths)
  const call = async <Name extends CallName>(
    name: Name,
    parameters: Parameters<Name>,
  ): Promise<Result<Name>> => await callDaemon(paths, name, parameters, TIMEOUT_MS)
  return {
    ...remote.operations,
    besideKernel: remote.operations,
    history: remoteHistory(paths, call),
    sync: async message => tidOf(await call('sync', message === undefined ? {} : { message })),
    lastTid: async () => tidOf(await call('status', {})),
    close: () => remote.close(),
  }
}

type Call = <Name extends CallName>(name: Name, parameters: Parameters<Name>) => Promise<Result<Name>>

function remoteHistory(paths: readonly string[], call: Call): HistoryOperations {
  let transaction: RemoteTransaction | undefined
  const ended = (): RemoteTransaction => {
    const open = transaction
    transaction = undefined
    if (open === undefined) throw new CodedError('no transaction is open', { code: 'no-transaction' })
    return open
  }
  return {
    tag: async (name, when, force = true) => {
      const result = await call('tag', { name, force, ...(when !== undefined && { when }) })
      return { name, tid: tidOf(result) }
    },
    untag: async name => {
      await call('untag', { name })
    },
    undo: async undone => tidOf(await call('undo', { tid: formatTid(undone) })),
    restore: async (path, at, to, force = true) =>
      tidOf(await call('restore', { path, at, force, ...(to !== undefined && { to }) })),
    clone: async (source, target, at) =>
      tidOf(await call('clone', { source, target, ...(at !== undefined && { at }) })),
    begin: async () => {
      transaction = await RemoteTransaction.begin(paths)
    },
    commit: async message => tidOf({ tid: await ended().commit(message) }),
    rollBack: async () => {
      if (transaction !== undefined) await ended().rollBack()
    },
  }
}

/** @throws CodedError for an answer without a tid. */
function tidOf({ tid }: { readonly tid: string }): Tid {
  const parsed = parseTid(tid)
  if (parsed === undefined) throw new CodedError('the daemon answers without a tid', { code: 'internal' })
  return parsed
}
