import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { controlPaths } from '../../../mount/daemon/control-path.ts'
import { callDaemon } from '../../../mount/daemon/control-protocol.ts'
import { ownerOf } from '../../../mount/daemon/mounts.ts'
import { type MountedDirectory, mountedAt } from '../../../mount/mount-points/mount-table.ts'
import { run, runThrough } from '../programs.ts'
import type { MountedZblkfs } from './place.ts'

const CALL_TIMEOUT_MS = 60_000
const ZBLKFS = fileURLToPath(new URL('../../zblkfs', import.meta.url))

/** Mounts a database, created if it does not exist, with values of -o; creates the directory. */
export async function mountZblkfs(
  database: string,
  directory: string,
  options: readonly string[] = [],
): Promise<MountedZblkfs> {
  let pid = 0
  const mounted = (): MountedDirectory => {
    const mount = mountedAt(directory)
    if (mount === undefined) throw new Error(`${directory} is not mounted`)
    return mount
  }
  const control = async () => await controlPaths(mounted().device, ownerOf(mounted()))
  const mount = async (): Promise<void> => {
    await runThrough(ZBLKFS, 'mount', database, directory, ...options.flatMap(option => ['-o', option]))
    ;({ pid } = await callDaemon(await control(), 'status', {}, CALL_TIMEOUT_MS))
  }
  mkdirSync(directory)
  await mount()
  return {
    database,
    directory,
    pid: () => pid,
    mount,
    unmount: async () => void (await runThrough(ZBLKFS, 'umount', directory)),
    sync: async () => (await callDaemon(await control(), 'sync', {}, CALL_TIMEOUT_MS)).tid,
    pack: async before => void (await run(ZBLKFS, 'pack', directory, '--before', before)),
  }
}
