/** The log files of mounts: where they are, their last entry, and the removal of old ones. */
import { closeSync, constants, fstatSync, readSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { isRoot, processOwner } from '../core/process-owner.ts'
import { makeDirectories } from '../store/make-directories.ts'
import { accessSync, lstatSync, openSync } from '../store/os-files.ts'
import { lstat, readdir, rm } from '../store/os-files-async.ts'
import { CommandError } from './failure.ts'

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const OLD_MS = 90 * 86_400_000
const GROUP_AND_OTHERS_WRITE = 0o022

/**
 * The log file of a mount: in $XDG_STATE_HOME/zblkfs if that is set, else in /var/log/zblkfs for root and in
 * ~/.local/state/zblkfs for others; in the directory for temporary files if that cannot be written. Named after the
 * mount point.
 */
export function logPathFor(directory: string): string {
  const name = (directory.slice(1).replaceAll('/', '-') || 'root').slice(-200)
  const state = process.env['XDG_STATE_HOME'] ?? (isRoot() ? '/var/log' : join(homedir(), '.local', 'state'))
  const directories = [join(state, 'zblkfs'), join(tmpdir(), `zblkfs-${processOwner().uid}`)]
  for (const directory of directories) {
    try {
      makeDirectories(directory)
      accessSync(directory, constants.W_OK | constants.X_OK)
      if (isOwn(directory)) return join(directory, `${name}.log`)
    } catch {
      continue
    }
  }
  throw new CommandError(
    `there is no directory for the log: create ${directories.join(' or ')}, owned by you and writable only by you`,
  )
}

/** The end of a log file that is searched for its last entry. */
const END_BYTES = 64 << 10

/** The last entry of a mount's log, and its file; undefined if there is none. */
export function lastLogged(directory: string): { readonly text: string; readonly path: string } | undefined {
  try {
    const path = logPathFor(directory)
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const { size } = fstatSync(file)
      const end = Buffer.alloc(Math.min(size, END_BYTES))
      readSync(file, end, 0, end.length, size - end.length)
      const line = end.toString('utf8').trim().split('\n').at(-1) ?? ''
      return line === '' ? undefined : { text: entryText(line), path }
    } finally {
      closeSync(file)
    }
  } catch {
    return undefined
  }
}

/** An entry as text. What Node prints before it ends is no JSON. */
function entryText(line: string): string {
  try {
    const { time, msg, err } = JSON.parse(line) as Record<string, unknown>
    const cause =
      typeof err === 'object' && err !== null && 'message' in err ? ` (${String(err.message)})` : ''
    return `${String(time)}: ${String(msg)}${cause}`
  } catch {
    return line
  }
}

/** Whether no other user can put links into a directory: one in /tmp may be another user's. */
function isOwn(directory: string): boolean {
  const { uid, mode } = lstatSync(directory)
  return (
    uid === process.geteuid?.() && (mode & (constants.S_IFMT | GROUP_AND_OTHERS_WRITE)) === constants.S_IFDIR
  )
}

/** Removes log files of this program that were not written for {@link OLD_MS}: those of mount points that are not used any more. */
export async function removeOldLogs(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!/\.log(\.1)?$/.test(name)) continue
    const path = join(directory, name)
    try {
      if (Date.now() - (await lstat(path)).mtimeMs > OLD_MS) await rm(path)
    } catch {
      // Another daemon has removed it.
    }
  }
}
