/** `zblkfs rescue DIR|PID TARGET`: saves a database that was removed while it was mounted. */
import { resolve } from 'node:path'
import { Command } from 'commander'
import { controlPaths, listSockets } from '../../mount/daemon/control-path.ts'
import { NoAnswerError } from '../../mount/daemon/no-answer.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { rescueDatabase } from '../../store/open-store.ts'
import { say } from '../say.ts'
import { CommandError } from '../failure.ts'
import { ALIVE_TIMEOUT_MS, findMount } from '../find-mount.ts'

const STORE_TIMEOUT_MS = 60_000

export function rescueCommand(): Command {
  return new Command('rescue')
    .description(
      'Save a database that was removed while it is mounted, from the files that its daemon has open.',
    )
    .argument('<dir|pid>', 'the mount, or the process that serves it')
    .argument('<target>', 'a new database')
    .addHelpText(
      'after',
      '\nUnstored changes are saved too if the daemon answers. The mount is not changed. Check the new database with' +
        "\n'zblkfs fsck --data', mount it elsewhere, and end the old mount with 'zblkfs umount --discard'.",
    )
    .action(async (what: string, target: string) => {
      const { pid, paths } = await daemonOf(what)
      const unstored = await storeAll(paths)
      const { database, logFiles } = await rescueDatabase(pid, resolve(target))
      say(
        `${database} is saved as ${target}, with ${logFiles} files of its log; check it with 'zblkfs fsck --data ${target}'`,
      )
      if (unstored !== undefined)
        throw new CommandError(`what was changed since its last transaction is not in it: ${unstored}`)
    })
}

interface Daemon {
  readonly pid: number
  /** Candidate paths of its control socket. */
  readonly paths: readonly string[]
}

async function daemonOf(what: string): Promise<Daemon> {
  const sockets = await listSockets()
  if (/^\d+$/.test(what)) {
    const pid = Number(what)
    return { pid, paths: sockets.filter(socket => socket.pid === pid).map(({ path }) => path) }
  }
  const mount = findMount(what)
  const paths = await controlPaths(mount.device, ownerOf(mount)).catch((error: unknown) => {
    if (!(error instanceof NoAnswerError)) throw error
    throw new CommandError(`${what}: ${error.message}; name the process id of its daemon instead of it`, {
      cause: error,
      code: error.code,
    })
  })
  const socket = sockets.find(({ path }) => paths.includes(path))
  if (socket === undefined)
    throw new CommandError(`${what} has no daemon any more: its bytes are gone`, { code: 'daemon-gone' })
  return { pid: socket.pid, paths }
}

/** Makes the daemon store its unstored changes. @returns the reason for a failure. */
async function storeAll(paths: readonly string[]): Promise<string | undefined> {
  try {
    await callDaemon(paths, 'status', {}, ALIVE_TIMEOUT_MS)
    await callDaemon(paths, 'storeUnnamed', {}, STORE_TIMEOUT_MS)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
