/** The filesystem of a mount, used by another process through the mount's daemon. */
import { parseTid, formatTid, type Tid } from '../../store/ids.ts'
import { CodedError } from '../../store/errors.ts'
import type { HistoryOperations, ServedFileSystem } from '../../core/file-system/served-file-system.ts'
import type { MountedDirectory } from '../mount-points/mount-table.ts'
import { controlPaths } from './control-path.ts'
import { callDaemon, type CallName, type Parameters, type Result } from './control-protocol.ts'
import { ownerOf } from './mounts.ts'
import type { Operations } from '../../core/file-system/operations.ts'
import { OPERATION_NAMES, type OperationName } from './operations-session.ts'
import { RemoteOperations } from './remote-operations.ts'
import { RemoteTransaction } from './transaction-client.ts'

/** All dirty data is stored first, which may be slow. */
const TIMEOUT_MS = 3_600_000

/**
 * Connects to the daemon of a mount. `close` ends the connection; the mount stays.
 * @param connects whether the connection for operations is made at once, or with the first operation.
 * @throws NoAnswerError; CodedError if the daemon refuses.
 */
export async function connectFileSystem(
  mount: MountedDirectory,
  connects: 'at once' | 'when needed' = 'at once',
): Promise<ServedFileSystem> {
  const paths = await controlPaths(mount.device, ownerOf(mount))
  const remote = new LazyRemote(paths)
  if (connects === 'at once') await remote.connect()
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

/** {@link RemoteOperations} that are connected when they are needed. */
class LazyRemote {
  readonly operations: Operations
  readonly #paths: readonly string[]
  #connected: Promise<RemoteOperations> | undefined

  constructor(paths: readonly string[]) {
    this.#paths = paths
    const call = async (name: OperationName, parameters: readonly unknown[]): Promise<unknown> => {
      const { operations } = await this.connect()
      return await (operations[name] as (...parameters: readonly unknown[]) => Promise<unknown>)(
        ...parameters,
      )
    }
    const methods = OPERATION_NAMES.map(name => [
      name,
      (...parameters: readonly unknown[]) => call(name, parameters),
    ])
    // What is to be forgotten was found over the connection, so there is one.
    const forget: Operations['forget'] = (ino, count) =>
      void this.#connected?.then(({ operations }) => operations.forget(ino, count))
    this.operations = Object.fromEntries([...methods, ['forget', forget]]) as Operations
  }

  connect(): Promise<RemoteOperations> {
    return (this.#connected ??= RemoteOperations.connect(this.#paths))
  }

  async close(): Promise<void> {
    await (await this.#connected)?.close()
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
    tag: async (name, when, force = true, _, holds) => {
      const result = await call('tag', {
        name,
        force,
        ...(when !== undefined && { when }),
        ...(holds !== undefined && { holds }),
      })
      return { name, tid: tidOf(result) }
    },
    untag: async name => {
      await call('untag', { name })
    },
    undo: async (undone, upTo = undone) =>
      tidOf(await call('undo', { tid: formatTid(undone), upTo: formatTid(upTo) })),
    restore: async (paths, at, deletes) => tidOf(await call('restore', { paths, at, deletes })),
    restoreAs: async (path, at, to, force) => tidOf(await call('restoreAs', { path, at, to, force })),
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
