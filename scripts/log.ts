/** Where the daemon logs: JSON lines in a file, or plain lines on a terminal when it stays in the foreground. */
import { CodedError } from '../store/errors.ts'
import { adviceFor } from './advice.ts'
import { fstatSync, writeSync } from 'node:fs'
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
import { LOG_LEVELS, type LogLevel } from './log-file.ts'
import { RotatingFile } from './rotating-file.ts'

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

/** An error as it is logged: with its code and advice. Messages of its causes are only in the stack. */
function withAdvice(error: Error): unknown {
  const logged = { ...stdSerializers.err(error), message: error.message }
  const advice = error instanceof CodedError ? adviceFor(error) : undefined
  return advice === undefined ? logged : { ...logged, advice }
}

/** A log of JSON lines in a file of bounded size. */
export function logToFile(path: string, level: LogLevel, problems: Problems): Logger {
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
