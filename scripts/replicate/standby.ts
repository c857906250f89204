/** The database that a replication keeps up to date, on this machine or another, through `zblkfs receive` in a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import type { Received } from '../../core/database/stream-options.ts'
import { messageOf, StoreError, systemCode, type ErrorCode, fromWire } from '../../store/errors.ts'
import { startable } from '../../store/os-command.ts'
import { CommandError, UsageError } from '../failure.ts'

/** Shown of what a process has written to standard error. */
const LAST_WORDS_LENGTH = 2000
const SSH = ['ssh', '-o', 'BatchMode=yes']

export interface StandbyOptions {
  /** In place of ssh, with its own options. */
  readonly ssh?: string
  /** The command on the other machine, in place of `zblkfs`. */
  readonly remoteCommand?: string
  /** Drops what the source has dropped. */
  readonly pack: boolean
}

/** `ssh://[USER@]HOST[:PORT]/PATH`, where `/~/` begins a path in the home directory. */
interface RemoteDatabase {
  readonly host: string
  readonly port: string
  readonly path: string
}

export class Standby {
  readonly #target: string
  readonly #remote: RemoteDatabase | undefined
  readonly #options: StandbyOptions

  /** @throws UsageError */
  constructor(target: string, options: StandbyOptions) {
    this.#target = target
    this.#remote = /^ssh:/i.test(target) ? parseRemote(target) : undefined
    this.#options = options
  }

  /** The last transaction; null if there is none yet. @throws as {@link Standby.receive} */
  async last(signal: AbortSignal): Promise<string | null> {
    const { tid } = await this.#run<{ readonly tid: string | null }>(['--state', '--json'], undefined, signal)
    return tid
  }

  /** @throws StoreError with the reason of a refusal; CommandError if the process or the connection failed; what the stream throws. */
  async receive(stream: AsyncIterable<Buffer>, signal: AbortSignal): Promise<Received> {
    return await this.#run<Received>(['--json', ...(this.#options.pack ? ['--pack'] : [])], stream, signal)
  }

  async #run<T>(
    options: readonly string[],
    input: AsyncIterable<Buffer> | undefined,
    signal: AbortSignal,
  ): Promise<T> {
    const child = this.#spawn(options)
    const kill = (): void => void child.kill()
    signal.addEventListener('abort', kill)
    try {
      const [output, errors] = [collect(child.stdout), collect(child.stderr, LAST_WORDS_LENGTH)]
      const ended = (once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>).catch(
        (error: unknown) => {
          throw new CommandError(`${child.spawnfile} cannot be started: ${messageOf(error)}`, {
            cause: error,
          })
        },
      )
      const fed = feed(child, input)
      const [code, killedBy] = await ended
      const failure = await fed
      signal.throwIfAborted()
      const answer = answerIn(await output)
      // A failure of the source explains why the receiver has failed, and not the other way round.
      if (failure !== undefined && !isBrokenPipe(failure)) throw failure
      if (answer !== undefined && 'error' in answer) throw refusal(answer.error)
      if (code === 0 && answer !== undefined) return answer as T
      const words = (await errors).trim()
      const how = killedBy === null ? `ended with exit code ${code}` : `was ended by ${killedBy}`
      throw new CommandError(`the receiver of ${this.#target} ${how}${words === '' ? '' : `: ${words}`}`)
    } finally {
      signal.removeEventListener('abort', kill)
      child.kill()
    }
  }

  #spawn(options: readonly string[]): ChildProcess {
    const { ssh, remoteCommand = 'zblkfs' } = this.#options
    if (this.#remote === undefined) {
      const main = process.argv[1] ?? ''
      return start([process.execPath, ...process.execArgv, main, 'receive', ...options, '--', this.#target])
    }
    const { host, port, path } = this.#remote
    const [program = 'ssh', ...own] = ssh === undefined ? SSH : ssh.split(' ').filter(word => word !== '')
    const command = `${remoteCommand} receive ${options.join(' ')} -- ${quoted(path)}`
    return start([program, ...own, ...(port === '' ? [] : ['-p', port]), host, command])
  }
}

function start(command: readonly string[]): ChildProcess {
  const [program = '', ...parameters] = startable(command)
  return spawn(program, parameters, { stdio: 'pipe' })
}

/** Writes a stream to a process; resolves to the error if that fails. */
async function feed(child: ChildProcess, input: AsyncIterable<Buffer> | undefined): Promise<unknown> {
  const { stdin } = child
  if (stdin === null) return undefined
  try {
    if (input === undefined) stdin.end()
    else await pipeline(input, stdin)
    return undefined
  } catch (error) {
    // Without this the receiver would wait for the rest.
    stdin.destroy()
    return error
  }
}

const isBrokenPipe = (error: unknown): boolean =>
  ['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes(systemCode(error) ?? '')

async function collect(output: NodeJS.ReadableStream | null, maxLength = 1 << 20): Promise<string> {
  let text = ''
  for await (const chunk of output ?? []) text = (text + chunk.toString()).slice(-maxLength)
  return text
}

interface Refusal {
  readonly code: string
  readonly message: string
}

function answerIn(output: string): object | { readonly error: Refusal } | undefined {
  try {
    const answer: unknown = JSON.parse(output)
    return typeof answer === 'object' && answer !== null ? answer : undefined
  } catch {
    return undefined
  }
}

function refusal(error: unknown): Error {
  const { code, message } = error as Partial<Refusal>
  if (typeof code !== 'string' || typeof message !== 'string')
    return new CommandError('the receiver has failed')
  const known = fromWire({ code, message, details: {} })
  return known instanceof StoreError ? known : new StoreError(message, { code: code as ErrorCode })
}

function parseRemote(text: string): RemoteDatabase {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const path = decoded(url?.pathname ?? '')
  if (url === undefined || url.hostname === '' || path.length < 2 || url.password !== '')
    throw new UsageError(
      `${text}: write ssh://[USER@]HOST[:PORT]/PATH; /~/ begins a path in the home directory`,
    )
  const user = url.username === '' ? '' : `${decoded(url.username)}@`
  if (user.startsWith('-') || url.hostname.startsWith('-')) throw new UsageError(`${text}: no such host`)
  return { host: user + url.hostname, port: url.port, path: path.startsWith('/~/') ? path.slice(3) : path }
}

/** The text of a part of a URL; as it is if it is not percent-encoded. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

/** For the shell on the other machine. */
const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`
