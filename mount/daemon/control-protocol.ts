/**
 * How a command talks to the daemon of a mount: over a Unix socket, a call and its answer each one line of JSON.
 *
 *     -> {"call":"sync","parameters":{"message":"before the upgrade"}}
 *     <- {"result":{"tid":"040a1b2c3d4e5f60"}}
 *     <- {"error":{"code":"no-space","message":"the disk is full: ...","details":{}}}
 *
 * A connection carries one call (but for a transaction, see transaction-session.ts). Every call has a time limit, so that a daemon which is stopped or gone is told and
 * not waited for; calls that wait for the disk have a long one.
 */
import { systemCode, CodedError, fromWire, toWire, type WireError } from '../../store/errors.ts'
import type { PackResult } from '../../core/pack/pack.ts'
import type { ConnectionState, PackProgress } from '../../store/capabilities.ts'
import { lstat } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import {
  count,
  flag,
  hasShape,
  isObject,
  isWireError,
  oneOf,
  optional,
  pid,
  printable,
  type Shape,
  text,
  tid,
  time,
} from './answers.ts'
import { deviceOf } from './control-path.ts'
import { peerUid } from './peer.ts'

/** What a daemon tells of its mount. */
export interface MountStatus {
  readonly pid: number
  readonly database: string
  readonly directory: string
  readonly driver: string
  readonly readOnly: boolean
  /** When it was mounted, ISO 8601. */
  readonly since: string
  /** The last transaction, 16 hex digits. */
  readonly tid: string
  readonly residentBytes: number
  /** Bytes of changes that are in memory alone. */
  readonly unstoredBytes: number
  /** Why the last attempt to store them failed; absent if it did not. */
  readonly failure?: string
  /** Whether the disk of the database has no room for data. */
  readonly isFull: boolean
  /** How long history is kept (store/retention.ts); absent for a database of ZODB's. */
  readonly history?: string
  /** Whether the database's server answers; absent for a database in a file. */
  readonly connection?: ConnectionState
}

/** A pack that was begun by a call. */
export type PackStatus =
  | { readonly state: 'none' }
  | { readonly state: 'running'; readonly progress?: PackProgress }
  | { readonly state: 'done'; readonly report: PackResult }
  | { readonly state: 'failed'; readonly error: WireError }

/** Every call: what it takes and what it gives. */
export interface ControlCalls {
  readonly status: { readonly parameters: Readonly<Record<string, never>>; readonly result: MountStatus }
  /** Stores everything up to now; `message` describes the transaction. */
  readonly sync: {
    readonly parameters: { readonly message?: string }
    readonly result: { readonly tid: string }
  }
  /** Begins a pack to a moment as a person writes it; absent: as far as the database's retention has it. */
  readonly pack: {
    readonly parameters: { readonly before?: string }
    readonly result: Readonly<Record<string, never>>
  }
  /** How far the last pack that was begun by hand is. */
  readonly packStatus: {
    readonly parameters: Readonly<Record<string, never>>
    readonly result: PackStatus
  }
  /** Ends a pack that was begun by hand. */
  readonly packCancel: {
    readonly parameters: Readonly<Record<string, never>>
    readonly result: Readonly<Record<string, never>>
  }
  /** How long history is kept; `keep`, if given, is recorded in the database first. */
  readonly history: {
    readonly parameters: { readonly keep?: string }
    readonly result: { readonly history: string }
  }
  /** Names a moment, the present if absent. Names and paths have one character per byte. */
  readonly tag: {
    readonly parameters: { readonly name: string; readonly when?: string; readonly force: boolean }
    readonly result: { readonly tid: string }
  }
  readonly untag: {
    readonly parameters: { readonly name: string }
    readonly result: Readonly<Record<string, never>>
  }
  /** Takes a transaction back by a new one. */
  readonly undo: {
    readonly parameters: { readonly tid: string }
    readonly result: { readonly tid: string }
  }
  /** Makes a path what it was at a moment. */
  readonly restore: {
    /** `force`: replaces a file that has the name `to`. */
    readonly parameters: {
      readonly path: string
      readonly at: string
      readonly to?: string
      readonly force: boolean
    }
    readonly result: { readonly tid: string }
  }
  readonly clone: {
    readonly parameters: { readonly source: string; readonly target: string; readonly at?: string }
    readonly result: { readonly tid: string }
  }
  /** Stores everything although the database was removed, so that it can be saved from the daemon's descriptors. */
  readonly storeUnnamed: {
    readonly parameters: Readonly<Record<string, never>>
    readonly result: { readonly pid: number }
  }
  /** Stores everything, unmounts, and ends the daemon. Lazily: in use or not. `discard`: also if storing fails. */
  readonly unmount: {
    readonly parameters: { readonly lazy: boolean; readonly discard?: boolean }
    /** `lost`: what could not be stored, and is lost. */
    readonly result: { readonly tid: string; readonly pid: number; readonly lost?: string }
  }
}

export type CallName = keyof ControlCalls
export type Parameters<Name extends CallName> = ControlCalls[Name]['parameters']
export type Result<Name extends CallName> = ControlCalls[Name]['result']

/** The fields of each call's result. */
const RESULTS: Readonly<Record<CallName, Shape>> = {
  status: {
    pid,
    database: text,
    directory: text,
    driver: text,
    readOnly: flag,
    since: time,
    tid,
    residentBytes: count,
    unstoredBytes: count,
    failure: optional(text),
    isFull: flag,
    history: optional(text),
  },
  sync: { tid },
  pack: {},
  packStatus: {
    state: oneOf('none', 'running', 'done', 'failed'),
    progress: optional(isObject),
    report: optional(isObject),
  },
  packCancel: {},
  history: { history: text },
  tag: { tid },
  untag: {},
  undo: { tid },
  restore: { tid },
  clone: { tid },
  storeUnnamed: { pid },
  unmount: { tid, pid, lost: optional(text) },
}

export type ControlRequest = {
  readonly [Name in CallName]: { readonly call: Name; readonly parameters: Parameters<Name> }
}[CallName]

export type ControlResponse = { readonly result: unknown } | { readonly error: WireError }

/** Lines longer than this are no calls or answers of ours. */
export const LINE_MAX_LENGTH = 1 << 20

/** No daemon answers: it is gone, stopped, or another user's. */
export class NoAnswerError extends CodedError {
  override readonly name = 'NoAnswerError'
  readonly reason: 'gone' | 'silent' | 'forbidden'
  constructor(reason: NoAnswerError['reason'], message: string, options?: ErrorOptions) {
    super(message, { ...options, code: `daemon-${reason}` })
    this.reason = reason
  }
}

/** The call failed in the daemon for a reason that has no code: a mistake there, which its log has in full. */
export class CallFailedError extends CodedError {
  override readonly name = 'CallFailedError'
  constructor(message: string, options?: ErrorOptions) {
    super(message, { ...options, code: 'internal' })
  }
}

/** What the daemon sends of an error: no stack, which is of no use elsewhere. */
export function sentError(error: unknown): WireError {
  const { stack: _, ...wire } = toWire(error)
  return wire
}

/** An error that the daemon sent, of the class and with the code that it had there. */
export function receivedError(wire: WireError): CodedError {
  const error = fromWire(wire)
  return error instanceof CodedError ? error : new CallFailedError(error.message, { cause: error })
}

/** The result in an answer to `call`. @throws CodedError: the daemon's, or if the answer is not one. */
export function resultOf(line: string, call: CallName | 'transaction' | 'operations'): unknown {
  const response = parseAnswer(line)
  if (isObject(response) && isWireError(response['error'])) throw receivedError(response['error'])
  const result = isObject(response) ? response['result'] : undefined
  if (hasShape(result, call === 'transaction' || call === 'operations' ? {} : RESULTS[call])) return result
  throw new CallFailedError(
    "what listens at the mount's control socket does not answer as a daemon of zblkfs does",
  )
}

function parseAnswer(line: string): unknown {
  try {
    return printable(JSON.parse(line))
  } catch {
    return undefined
  }
}

/** A call as it is sent: with the device of the mount that it is meant for. */
export const requestTo = (path: string, call: string, parameters: unknown): string =>
  JSON.stringify({ call, parameters, device: deviceOf(path) })

/**
 * Calls the daemon at the first of `paths` where one listens.
 * @throws NoAnswerError; the daemon's error, a CodedError.
 */
export async function callDaemon<Name extends CallName>(
  paths: readonly string[],
  call: Name,
  parameters: Parameters<Name>,
  timeoutMs: number,
): Promise<Result<Name>> {
  let failure = new NoAnswerError('gone', 'the daemon is gone')
  for (const path of paths) {
    try {
      const line = await exchange(path, requestTo(path, call, parameters), timeoutMs)
      return resultOf(line, call) as Result<Name>
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error
      failure = error
      if (error.reason !== 'gone') break
    }
  }
  throw failure
}

/**
 * Connects to the socket at `path`, which has been found to be its owner's (control-path.ts).
 * @throws NoAnswerError where another user's process listens there: the name was changed to lead to it.
 */
export async function connectTo(path: string, signal: AbortSignal): Promise<Socket> {
  const owner = await lstat(path).then(
    ({ uid }) => uid,
    () => undefined,
  )
  const socket = connect(path)
  try {
    await once(socket, 'connect', { signal })
    if (owner === undefined || peerUid(socket) === owner) return socket
    throw new NoAnswerError('forbidden', "the daemon at its control socket is not its owner's")
  } catch (error) {
    socket.destroy()
    throw error
  }
}

async function exchange(path: string, request: string, timeoutMs: number): Promise<string> {
  const signal = AbortSignal.timeout(timeoutMs)
  let socket: Socket | undefined
  let received = ''
  try {
    socket = await connectTo(path, signal)
    socket.setEncoding('utf8')
    socket.write(`${request}\n`)
    socket.on('data', (data: string) => {
      received += data
      if (received.length > LINE_MAX_LENGTH) socket?.destroy(new Error('the answer is too long'))
    })
    await once(socket, 'end', { signal })
  } catch (error) {
    throw error instanceof NoAnswerError ? error : noAnswer(error, timeoutMs)
  } finally {
    socket?.destroy()
  }
  if (!received.endsWith('\n')) throw new NoAnswerError('gone', 'the daemon ended before it had answered')
  return received
}

function noAnswer(error: unknown, timeoutMs: number): NoAnswerError {
  const code = systemCode(error)
  if (code === 'EACCES' || code === 'EPERM')
    return new NoAnswerError('forbidden', "the mount is another user's", { cause: error })
  if (error instanceof Error && error.name === 'AbortError')
    return new NoAnswerError('silent', `the daemon has not answered within ${timeoutMs / 1000} s`, {
      cause: error,
    })
  return new NoAnswerError('gone', 'the daemon is gone', { cause: error })
}
