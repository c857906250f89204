/** What a daemon has logged as a warning or an error: counts, and the last one, for `zblkfs status` and for monitoring. */
import { levels, type LoggerOptions } from 'pino'
import { CodedError, toWire, type WireError } from '../../store/errors.ts'

export const PROBLEM_LEVELS = ['warn', 'error', 'fatal'] as const
export type ProblemLevel = (typeof PROBLEM_LEVELS)[number]

/** An entry of the log. */
export interface Problem {
  /** ISO 8601. */
  readonly time: string
  readonly level: ProblemLevel
  readonly message: string
  /** Its cause, without a stack. */
  readonly error?: WireError
}

export class Problems {
  warnings = 0
  /** Entries of the levels error and fatal. */
  errors = 0
  /** Of these, damage: bytes of the database that differ from what was written. */
  damage = 0
  #last: Problem | undefined

  /** The last error; the last warning if there was no error. */
  get last(): Problem | undefined {
    return this.#last
  }

  /** An option of pino: has a logger report its entries here. */
  get hook(): NonNullable<LoggerOptions['hooks']> {
    return {
      logMethod: logMethodOf((level, parameters) => this.#add(level, parameters)),
    }
  }

  #add(number: number, [first, second]: readonly unknown[]): void {
    const level = PROBLEM_LEVELS.find(level => levels.values[level] === number)
    if (level === undefined) return
    const cause = typeof first === 'object' && first !== null && 'err' in first ? first.err : undefined
    if (level === 'warn') this.warnings++
    else this.errors++
    if (cause instanceof CodedError && cause.kind === 'repair') this.damage++
    if (level === 'warn' && this.#last !== undefined && this.#last.level !== 'warn') return
    const { stack: _, ...error } = toWire(cause)
    this.#last = {
      time: new Date().toISOString(),
      level,
      message: [first, second].find(value => typeof value === 'string') ?? '',
      ...(cause !== undefined && { error }),
    }
  }
}

/** A hook of pino that passes each entry to `add` before it is logged. Pino calls it with the logger as `this`. */
function logMethodOf(
  add: (level: number, parameters: readonly unknown[]) => void,
): NonNullable<NonNullable<LoggerOptions['hooks']>['logMethod']> {
  return function (parameters, method, level) {
    add(level, parameters)
    method.apply(this, parameters)
  }
}
