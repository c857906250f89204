/** `zblkfs receive DB`: adds the transactions of a stream to a database. */
import { createReadStream } from '../../store/os-files.ts'
import { Command } from 'commander'
import type { Received } from '../../core/database/stream-options.ts'
import { lastReceived, receive as receiveStream } from '../../core/database/streams.ts'
import { printable } from '../../core/printable.ts'
import { bytesIn, streamsIn } from '../../core/stream/directory.ts'
import { isRawStream } from '../../core/stream/raw.ts'
import { CodedError, messageOf } from '../../store/errors.ts'
import { canonicalName } from '../../store/database-name.ts'
import { EXIT_FAILURE, CommandError, UsageError } from '../failure.ts'
import { explain } from '../advice.ts'
import { count } from '../foreign/count.ts'
import { ProgressBar } from '../progress-bar.ts'
import { say, warn } from '../say.ts'
import { findTarget } from '../target.ts'
import { formatBytes } from '../units.ts'

interface Options {
  readonly pack?: boolean
  readonly state?: boolean
  readonly json?: boolean
}

const NOTES = `
The streams are read from standard input, or from the files given; a directory stands for the streams that 'zblkfs backup' has written in it.
The database is created if it does not exist. It may be mounted read-only: the mount follows. A stream that does not fit is refused,
and leaves the database as it is. A stream that was cut leaves whole transactions, and the message says how to resume.
A raw stream needs no key; one that was cut leaves nothing.`

export function receiveCommand(): Command {
  return new Command('receive')
    .description("Add the transactions of a stream of 'zblkfs send' to a database.")
    .argument('<db>', 'the database, or a read-only mount of it')
    .argument('[streams...]', 'files or directories to read in place of standard input')
    .option('--pack', 'drop what the source has dropped, if it was packed since')
    .option('--state', 'only print the last transaction of the database, as JSON')
    .option('--json', 'print the result, or the error, as JSON')
    .addHelpText('after', NOTES)
    .action(async (place: string, streams: readonly string[], options: Options) => {
      if (options.json !== true) return await receive(place, streams, options)
      try {
        await receive(place, streams, options)
      } catch (error) {
        if (!(error instanceof CodedError)) throw error
        console.log(
          JSON.stringify({ error: { code: error.code, kind: error.kind, message: explain(error) } }),
        )
        process.exitCode = EXIT_FAILURE
      }
    })
}

async function receive(place: string, streams: readonly string[], options: Options): Promise<void> {
  const { pack = false, state = false, json = false } = options
  const target = await findTarget(place, state ? 'read' : 'change')
  const database = canonicalName(target.database)
  if (state) return console.log(JSON.stringify({ database, tid: (await lastReceived(database)) ?? null }))
  if (streams.length === 0 && process.stdin.isTTY)
    throw new UsageError('there is no stream on a terminal: name its file, or pipe it into this command')
  const progress = new ProgressBar('bytes')
  const paths = (await Promise.all(streams.map(streamsIn))).flat()
  const length = await bytesIn(paths)
  const onProgress = (done: number, total: number): void =>
    progress.update('receiving', done, paths.length === 0 ? total : length)
  const at: Reading = {}
  try {
    const input = paths.length === 0 ? process.stdin : bytesOf(paths, at)
    const received = await receiveStream(database, noting(input, at), { pack, onProgress, warn })
    progress.stop()
    if (json) console.log(JSON.stringify(received))
    else say(describe(database, received))
  } catch (error) {
    throw await explained(database, error, at)
  } finally {
    progress.stop()
  }
}

/** What is being read. */
interface Reading {
  /** Of the file, if files are read. */
  path?: string
  isRaw?: boolean
}

async function* noting(input: AsyncIterable<Buffer>, at: Reading): AsyncGenerator<Buffer> {
  for await (const chunk of input) {
    at.isRaw ??= isRawStream(chunk)
    yield chunk
  }
}

async function* bytesOf(paths: readonly string[], at: Reading): AsyncGenerator<Buffer> {
  for (const path of paths)
    try {
      at.path = path
      yield* createReadStream(path) as AsyncIterable<Buffer>
    } catch (error) {
      throw new CommandError(`${path} cannot be read: ${messageOf(error)}`, { cause: error })
    }
}

const describe = (database: string, { transactions, bytes, tid }: Received): string =>
  transactions === 0
    ? `${database} has all of it already; its last transaction is ${tid}`
    : `received ${count(transactions, 'transaction')}, ${formatBytes(bytes)}; ${database} now ends with ${tid}`

/** Which file is damaged, if files are read; for a stream that was cut, where to continue. */
async function explained(
  database: string,
  error: unknown,
  { path, isRaw = false }: Reading,
): Promise<unknown> {
  if (!(error instanceof CodedError)) return error
  if (error.code === 'bad-stream' && path !== undefined)
    return new CommandError(`${printable(path)}: ${error.message}`, { code: error.code, path, cause: error })
  if (error.code !== 'cut-stream') return error
  const tid = await lastReceived(database).catch(() => undefined)
  const send = isRaw ? 'zblkfs send --raw SOURCE --from' : 'zblkfs send SOURCE --resume'
  const next =
    tid === undefined
      ? 'nothing was received: send it again'
      : `${database} has everything up to ${tid}: continue with '${send} ${tid}'`
  return new CommandError(`${error.message}; ${next}`, { code: error.code, cause: error })
}
