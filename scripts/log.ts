/** Where the daemon logs: JSON lines in a file, or plain lines on a terminal when it stays in the foreground. */
import { makeDirectories } from '../store/make-directories.ts'
import { isRoot, processOwner } from '../core/process-owner.ts'
import { CodedError } from '../store/errors.ts'
import { adviceFor } from './advice.ts'
import { closeSync, constants, fstatSync, readSync, writeSync } from 'node:fs'
import { accessSync, lstatSync, openSync, readdirSync, rmSync } from '../store/os-files.ts'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import {
  type DestinationStream,
  type Logger,
  type LoggerOptions,
  multistream,
  pino,
  stdSerializers,
  stdTimeFunctions,
} from 'pino'
import type { Problems } from '../mount/daemon/problems.ts'
import { CommandError } from './failure.ts'
import { RotatingFile } from './rotating-file.ts'

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const STDERR = 2
/** The levels of syslog(3). */
const JOURNAL_LEVELS: Readonly<Record<string, number>> = {
  trace: 7,
  debug: 7,
  info: 6,
  warn: 4,
  error: 3,
  fatal: 2,
}
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

/** An error as it is logged: with its code and advice. Messages of its causes are only in the stack. */
function withAdvice(error: Error): unknown {
  const logged = { ...stdSerializers.err(error), message: error.message }
  const advice = error instanceof CodedError ? adviceFor(error) : undefined
  return advice === undefined ? logged : { ...logged, advice }
}

/** A log of JSON lines in a file of bounded size. Log files in its directory that were long not written are removed. */
export function logToFile(path: string, level: LogLevel, problems: Problems): Logger {
  removeOldLogs(dirname(path))
  return logTo(new RotatingFile(path), level, problems, { timestamp: stdTimeFunctions.isoTime })
}

/** A log of plain lines on standard error; for systemd's journal with the number of the level. */
export function logToTerminal(level: LogLevel, problems: Problems): Logger {
  const isForJournal = isJournal(STDERR)
  const write = (line: string): void => {
    try {
      writeSync(STDERR, `${plainLine(line, isForJournal)}\n`)
    } catch {
      // The terminal is gone or blocked: do not disturb the caller, which may be storing data.
    }
  }
  return logTo({ write }, level, problems, {
    timestamp: false,
    formatters: { level: label => ({ level: label }) },
  })
}

/** A logger whose warnings and errors `problems` sees, even if `level` keeps them out of the log. */
function logTo(
  stream: DestinationStream,
  level: LogLevel,
  problems: Problems,
  options: LoggerOptions,
): Logger {
  const isQuieter = LOG_LEVELS.indexOf(level) > LOG_LEVELS.indexOf('warn')
  const shown = isQuieter ? multistream(level === 'silent' ? [] : [{ level, stream }]) : stream
  return pino(
    {
      ...options,
      level: isQuieter ? 'warn' : level,
      base: null,
      serializers: { err: withAdvice },
      hooks: problems.hook,
    },
    shown,
  )
}

/** A line of the log as text: the level, the message, its details, and the cause. */
function plainLine(line: string, isForJournal: boolean): string {
  const { level, msg, err, ...rest } = JSON.parse(line) as {
    readonly level: string
    readonly msg?: string
    readonly err?: { readonly message?: string; readonly advice?: string }
  }
  const details = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
  const advice = err?.advice === undefined ? '' : `: ${err.advice}`
  const cause = err === undefined ? [] : [`(${err.message ?? ''}${advice})`]
  const text = [`${level}:`, msg ?? '', ...details, ...cause].join(' ')
  return isForJournal ? `<${JOURNAL_LEVELS[level] ?? 6}>${text.replaceAll('\n', ' ')}` : text
}

/** Whether a descriptor leads to systemd's journal, which reads the level of a line from its beginning. */
function isJournal(fd: number): boolean {
  const [device, inode] = (process.env['JOURNAL_STREAM'] ?? '').split(':')
  if (inode === undefined) return false
  const { dev, ino } = fstatSync(fd)
  return String(dev) === device && String(ino) === inode
}

/** Removes log files of this program that were not written for {@link OLD_MS}: those of mount points that are not used any more. */
function removeOldLogs(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (!/\.log(\.1)?$/.test(name)) continue
    const path = join(directory, name)
    try {
      if (Date.now() - lstatSync(path).mtimeMs > OLD_MS) rmSync(path)
    } catch {
      // Another daemon has removed it.
    }
  }
}
