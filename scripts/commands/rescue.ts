/** `zblkfs rescue DIR|PID TARGET`: saves a database that was removed while it was mounted, or what a fenced mount has not stored. */
import { absolutePath } from '../../store/os-files.ts'
import { Command } from 'commander'
import { controlPaths, listSockets } from '../../mount/daemon/control-path.ts'
import { NoAnswerError } from '../../mount/daemon/no-answer.ts'
import type { MountStatus } from '../../mount/daemon/call-results.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { rescueDatabase } from '../../store/open-store.ts'
import { textOf } from '../../store/os-text.ts'
import { say } from '../say.ts'
import { CommandError } from '../failure.ts'
import { ALIVE_TIMEOUT_MS, findMount } from '../find-mount.ts'
import { shellWord } from '../shell-word.ts'
import { copyFiles, listUnstored, makeTarget, type UnstoredFile } from '../unstored-files.ts'

const STORE_TIMEOUT_MS = 60_000

export function rescueCommand(): Command {
  return new Command('rescue')
    .description(
      'Save a database that was removed while it is mounted, or what a mount cannot store on its server any more.',
    )
    .argument('<dir|pid>', 'the mount, or the process that serves it')
    .argument('<target>', 'a new database; for a mount that was cut off from its server, a new directory')
    .addHelpText(
      'after',
      '\nOf a removed database, the files that its daemon has open become the new database. Unstored changes are saved too if the daemon' +
        "\nanswers. Check it with 'zblkfs fsck --data', mount it elsewhere, and end the old mount with 'zblkfs umount --discard'." +
        '\n\nOf a mount that was cut off from its server while other mounts wrote, every file and directory that it has not stored is copied' +
        "\ninto the directory, under its path. Then 'zblkfs rejoin --discard' makes the mount writable again." +
        '\n\nThe mount is not changed.',
    )
    .action(async (what: string, target: string) => {
      const { pid, paths } = await daemonOf(what)
      const status = await callDaemon(paths, 'status', {}, ALIVE_TIMEOUT_MS).catch(() => undefined)
      if (status?.connection !== undefined) await rescueUnstored(status, paths, target)
      else await rescueRemoved(pid, paths, target)
    })
}

async function rescueRemoved(pid: number, paths: readonly string[], target: string): Promise<void> {
  const unstored = await storeAll(paths)
  const { database, logFiles } = await rescueDatabase(pid, absolutePath(target))
  say(
    `${database} is saved as ${target}, with ${logFiles} files of its log; check it with 'zblkfs fsck --data ${target}'`,
  )
  if (unstored !== undefined)
    throw new CommandError(`what was changed since its last transaction is not in it: ${unstored}`)
}

/** Copies what a mount of a database on a server has not stored. */
async function rescueUnstored(
  { connection, directory }: MountStatus,
  paths: readonly string[],
  target: string,
): Promise<void> {
  if (connection?.state === 'reconnecting')
    throw new CommandError(
      `${directory} is connecting to its server again (${connection.reason}), and stores its changes then`,
    )
  if (connection?.state === 'connected')
    throw new CommandError(`${directory} can be written, and its database is on a server: nothing is lost`)
  const files = await listUnstored(paths)
  if (files.length === 0) {
    say(`${directory} has stored everything`)
    return
  }
  await makeTarget(absolutePath(target))
  await copyFiles(directory, absolutePath(target), files)
  for (const file of files) if (file.path.toString() !== '.') say(describe(file))
  const rejoin = `zblkfs rejoin --discard ${shellWord(directory)}`
  say(`saved in ${target}; '${rejoin}' drops these changes from the mount and lets it write again`)
}

function describe({ kind, path, from }: UnstoredFile): string {
  if (kind === 'removed') return `removed, but not stored: ${textOf(path)}`
  return from === undefined ? `copied: ${textOf(path)}` : `copied: ${textOf(path)}, which was ${textOf(from)}`
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
