/** Where the daemon logs: JSON lines in a file, or plain lines on a terminal when it stays in the foreground. */
import { makeDirectories } from '../store/make-directories.ts'
import { isRoot, processOwner } from '../core/process-owner.ts'
import { CodedError } from '../store/errors.ts'
import { adviceFor } from './advice.ts'
import { accessSync, constants, lstatSync, writeSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Logger, pino, stdSerializers, stdTimeFunctions } from 'pino'
import { CommandError } from './failure.ts'
import { RotatingFile } from './rotating-file.ts'

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const STDERR = 2
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

/** A log of JSON lines in a file of bounded size. */
export function logToFile(path: string, level: LogLevel): Logger {
  return pino(
    { level, base: null, timestamp: stdTimeFunctions.isoTime, serializers: { err: withAdvice } },
    new RotatingFile(path),
  )
}

/** A log of plain lines on the terminal. */
export function logToTerminal(level: LogLevel): Logger {
  const write = (line: string): void => {
    const { level, msg, err, ...rest } = JSON.parse(line) as {
      readonly level: string
      readonly msg?: string
      readonly err?: { readonly message?: string; readonly advice?: string }
    }
    const details = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    const advice = err?.advice === undefined ? '' : `: ${err.advice}`
    const cause = err === undefined ? [] : [`(${err.message ?? ''}${advice})`]
    try {
      writeSync(STDERR, `${[`${level}:`, msg ?? '', ...details, ...cause].join(' ')}\n`)
    } catch {
      // The terminal is gone or blocked: do not disturb the caller, which may be storing data.
    }
  }
  return pino(
    {
      level,
      base: null,
      timestamp: false,
      serializers: { err: withAdvice },
      formatters: { level: label => ({ level: label }) },
    },
    { write },
  )
}
