/**
 * The protocol between a command and the daemon of a mount: calls and answers over a Unix socket, each one line of JSON.
 *
 *     -> {"call":"sync","parameters":{"message":"before the upgrade"}}
 *     <- {"result":{"tid":"040a1b2c3d4e5f60"}}
 *     <- {"error":{"code":"no-space","message":"the disk is full: ...","details":{}}}
 *
 * A connection carries one call (but for a transaction, see transaction-session.ts). Every call has a time limit, so that a stopped or dead daemon is reported
 * instead of blocking; calls that wait for the disk have a long one.
 */
import { systemCode, CodedError, fromWire, toWire, type WireError } from '../../store/errors.ts'
import { lstat } from '../../store/os-files-async.ts'
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import {
  base64,
  count,
  everyField,
  flag,
  isCounts,
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
import { NoAnswerError } from './no-answer.ts'
import type { EncodedPath, MountStatus, PackStatus } from './call-results.ts'
import type { MountStats } from './mount-stats.ts'
import type { SettingChanges } from './remount.ts'
import { PROBLEM_LEVELS } from './problems.ts'
import { peerUid } from './peer.ts'

/** The parameters and result of every call. */
export interface ControlCalls {
  readonly status: { readonly parameters: Readonly<Record<string, never>>; readonly result: MountStatus }
  /** The figures of a mount, for monitoring. */
  readonly stats: { readonly parameters: Readonly<Record<string, never>>; readonly result: MountStats }
  /** Stores everything up to now; `message` describes the transaction. */
  readonly sync: {
    readonly parameters: { readonly message?: string }
    readonly result: { readonly tid: string }
  }
  /** Whether the mount, and what the kernel has cached of it, shows a transaction or a later one. `tid`: the one that it shows. */
  readonly reach: {
    readonly parameters: { readonly tid: string }
    readonly result: { readonly tid: string; readonly isReached: boolean }
  }
  /**
   * What the mount has not stored, by paths (UnstoredPath): those from number `from` on, as many as fit an answer. The
   * list is made for `from` 0, and stays the same for the calls that follow. Paths are base64.
   */
  readonly unstored: {
    readonly parameters: { readonly from: number }
    readonly result: { readonly paths: readonly EncodedPath[]; readonly isEnd: boolean }
  }
  /** Continues as a writer after the mount was fenced; what it has not stored is dropped. */
  readonly rejoin: {
    readonly parameters: Readonly<Record<string, never>>
    readonly result: { readonly tid: string }
  }
  /** Starts a pack to a moment, in the notation of store/moments.ts; by default to the database's retention. */
  readonly pack: {
    readonly parameters: { readonly before?: string }
    readonly result: Readonly<Record<string, never>>
  }
  /** Returns the state of the last requested pack. */
  readonly packStatus: {
    readonly parameters: Readonly<Record<string, never>>
    readonly result: PackStatus
  }
  /** Ends a requested pack. */
  readonly packCancel: {
    readonly parameters: Readonly<Record<string, never>>
    readonly result: Readonly<Record<string, never>>
  }
  /** Changes options of the mount; the kernel's flags are the caller's part. */
  readonly remount: {
    readonly parameters: { readonly changes: SettingChanges }
    readonly result: { readonly readOnly: boolean }
  }
  /** Returns how long history is kept, after recording `keep` in the database if given. */
  readonly history: {
    readonly parameters: { readonly keep?: string }
    readonly result: { readonly history: string }
  }
  /** Names a moment, by default the present. Names and paths have one character per byte. */
  readonly tag: {
    readonly parameters: {
      readonly name: string
      readonly when?: string
      readonly force: boolean
      readonly holds?: boolean
    }
    readonly result: { readonly tid: string }
  }
  readonly untag: {
    readonly parameters: { readonly name: string }
    readonly result: Readonly<Record<string, never>>
  }
  /** Reverts a transaction, or all up to another one, with a new one. */
  readonly undo: {
    readonly parameters: { readonly tid: string; readonly upTo?: string }
    readonly result: { readonly tid: string }
  }
  /** Makes paths what they were at a moment. */
  readonly restore: {
    readonly parameters: {
      readonly paths: readonly string[]
      readonly at: string
      readonly deletes: boolean
    }
    readonly result: { readonly tid: string }
  }
  /** Copies a path of a moment. */
  readonly restoreAs: {
    /** `force`: replaces an existing file `to`. */
    readonly parameters: {
      readonly path: string
      readonly at: string
      readonly to: string
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
    clock: optional(text),
    connection: optional(value =>
      hasShape(value, { state: oneOf('connected', 'reconnecting', 'fenced'), reason: optional(text) }),
    ),
    lease: optional(oneOf('held', 'not held', 'lost')),
    problem: optional(value =>
      hasShape(value, {
        time,
        level: oneOf(...PROBLEM_LEVELS),
        message: text,
        error: optional(isWireError),
      }),
    ),
  },
  stats: {
    timeMs: count,
    sinceMs: count,
    tid,
    requests: everyField({ count, errors: count, totalMs: count, buckets: isCounts }),
    errors: value => isObject(value) && Object.values(value).every(count),
    problems: value => hasShape(value, { warnings: count, errors: count, damage: count }),
    failure: optional(text),
    residentBytes: count,
    processorMs: count,
    fileSystem: optional(isObject),
    database: optional(isObject),
    pack: optional(isObject),
    isConnected: optional(flag),
  },
  sync: { tid },
  reach: { tid, isReached: flag },
  unstored: {
    paths: value =>
      Array.isArray(value) &&
      value.every(path =>
        hasShape(path, {
          kind: oneOf('changed', 'renamed', 'removed'),
          path: base64,
          from: optional(base64),
        }),
      ),
    isEnd: flag,
  },
  rejoin: { tid },
  pack: {},
  packStatus: {
    state: oneOf('none', 'running', 'done', 'failed'),
    progress: optional(isObject),
    report: optional(isObject),
  },
  packCancel: {},
  remount: { readOnly: flag },
  history: { history: text },
  tag: { tid },
  untag: {},
  undo: { tid },
  restore: { tid },
  restoreAs: { tid },
  clone: { tid },
  storeUnnamed: { pid },
  unmount: { tid, pid, lost: optional(text) },
}

export type ControlResponse = { readonly result: unknown } | { readonly error: WireError }

/** Maximum length of a line. */
export const LINE_MAX_LENGTH = 1 << 20

/** The call failed in the daemon with an error without a code: a bug, described in full in the daemon's log. */
export class CallFailedError extends CodedError {
  override readonly name = 'CallFailedError'
  constructor(message: string, options?: ErrorOptions) {
    super(message, { ...options, code: 'internal' })
  }
}

/** The form in which the daemon sends an error, without its stack. */
export function sentError(error: unknown): WireError {
  const { stack: _, ...wire } = toWire(error)
  return wire
}

/** Restores an error sent by the daemon, with its class and code. */
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
  throw new CallFailedError("the process at the mount's control socket does not answer like a zblkfs daemon")
}

function parseAnswer(line: string): unknown {
  try {
    return printable(JSON.parse(line))
  } catch {
    return undefined
  }
}

/** Encodes a call, with the device of the mount that it is for. */
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
 * Connects to the socket at `path`, which belongs to the mount's owner (control-path.ts).
 * @throws NoAnswerError if another user's process listens there, because the name was replaced.
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
