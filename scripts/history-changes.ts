/**
 * Carries out a command's change of the present: by the daemon that has the database mounted for writing or, if there is
 * none, by this process, which opens the database meanwhile.
 */
import type { HistoryCallName } from '../mount/daemon/history-calls.ts'
import { historyCalls } from '../mount/daemon/history-calls.ts'
import type { Parameters, Result } from '../mount/daemon/control-protocol.ts'
import { FileSystem } from '../core/file-system/file-system.ts'
import { openDatabase } from '../store/open-store.ts'
import { callMount } from './find-mount.ts'
import { servingMount } from '../mount/daemon/serving-mount.ts'
import type { HistorySource } from './history-source.ts'

/** Everything is stored first, which may wait for a slow disk. */
const TIMEOUT_MS = 3_600_000

/** @throws LockedError where another process writes the database; CodedError of the daemon or the store. */
export async function change<Name extends HistoryCallName>(
  { database, mount }: HistorySource,
  call: Name,
  parameters: Parameters<Name>,
): Promise<Result<Name>> {
  const serving = mount ?? (await servingMount(database))
  if (serving !== undefined) return await callMount(serving, call, parameters, TIMEOUT_MS)
  const store = await openDatabase(database, { purpose: `zblkfs ${call}` })
  const fileSystem = await FileSystem.open(store).catch(async (error: unknown) => {
    await store.close()
    throw error
  })
  try {
    const handlers = historyCalls(fileSystem, true)
    const handler = handlers[call] as (parameters: Parameters<Name>) => Promise<Result<Name>>
    return await handler(parameters)
  } finally {
    await fileSystem.close()
  }
}
