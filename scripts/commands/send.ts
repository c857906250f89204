/** `zblkfs send DB|DIR`: the history of a database, or a part of it, as a stream on standard output. */
import { pipeline } from 'node:stream/promises'
import { Command } from 'commander'
import { sendRaw } from '../../core/database/raw-streams.ts'
import { send as sendStream, sizeToSend } from '../../core/database/streams.ts'
import { parseTid } from '../../store/ids.ts'
import { CodedError, messageOf, systemCode } from '../../store/errors.ts'
import { CommandError, UsageError } from '../failure.ts'
import { count } from '../foreign/count.ts'
import { ProgressBar } from '../progress-bar.ts'
import { say } from '../say.ts'
import { syncTarget } from '../sync-target.ts'
import { findTarget } from '../target.ts'
import { formatBytes } from '../units.ts'

interface Options {
  readonly from?: string
  readonly to?: string
  readonly resume?: string
  readonly selfContained?: boolean
  readonly raw?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

const NOTES = `
'zblkfs receive' reads the stream. --from must be the last transaction that the receiver has; without it the stream has everything that is
kept. What a mount has not stored yet is stored first, unless --to is given. If a stream was cut, 'zblkfs receive' names the transaction to resume after.
A raw stream is the encrypted database as it is stored: neither end needs its key. --from is then the tid that
'zblkfs receive --state' prints, and a stream that was cut is sent again.`

export function sendCommand(): Command {
  return new Command('send')
    .description(
      'Write the history of a database, or what has changed since a moment, as a stream to standard output.',
    )
    .argument('<db|dir>', 'the database, or a mount of it; it may be in use')
    .option('--from <when>', 'only what came after this moment: a tid, a time, an age, or a tag')
    .option('--to <when>', 'only up to this moment (default: the present)')
    .option('--resume <tid>', 'continue a stream that was cut, after this transaction')
    .option('--self-contained', 'send bytes again that the receiver should have, but has dropped')
    .option('--raw', 'send an encrypted database as it is stored, without its key')
    .option('-n, --dry-run', 'only say how much there is to send')
    .option('--json', 'with --dry-run: print JSON')
    .addHelpText('after', NOTES)
    .action(send)
}

async function send(
  place: string,
  { from, to, resume, selfContained = false, raw = false, dryRun = false, json = false }: Options,
): Promise<void> {
  if (raw && (to !== undefined || resume !== undefined || selfContained || dryRun))
    throw new UsageError('--raw goes with --from only: a raw stream always ends with the present')
  if (raw && from !== undefined && parseTid(from) === undefined)
    throw new UsageError(
      `--from ${from}: with --raw it is a tid of 16 hex digits, as 'zblkfs receive --state' prints`,
    )
  if (from !== undefined && resume !== undefined)
    throw new UsageError('--from and --resume exclude each other: --resume alone continues a stream')
  if (resume !== undefined && parseTid(resume) === undefined)
    throw new UsageError(`--resume ${resume}: a tid has 16 hex digits; 'zblkfs receive' has named it`)
  if (!dryRun && process.stdout.isTTY)
    throw new UsageError('a stream is not for a terminal: redirect it to a file or a pipe')
  const target = await findTarget(place)
  if (to === undefined) await syncTarget(target)
  const start = from ?? resume
  const range = {
    selfContained,
    ...(start !== undefined && { from: start }),
    ...(to !== undefined && { to }),
  }
  if (dryRun) {
    const { transactions, records, bytes } = await sizeToSend(target.database, range)
    if (json) console.log(JSON.stringify({ transactions, records, bytes }))
    else say(`${formatBytes(bytes)} in ${count(transactions, 'transaction')}, ${count(records, 'record')}`)
    return
  }
  const progress = new ProgressBar('bytes')
  const onProgress = (done: number, total: number): void => progress.update('sending', done, total)
  try {
    const stream = raw
      ? sendRaw(target.database, { ...(from !== undefined && { from }), onProgress })
      : sendStream(target.database, { ...range, onProgress })
    await pipeline(stream, process.stdout, { end: false })
  } catch (error) {
    if (systemCode(error) === 'EPIPE')
      throw new CommandError('the receiver has ended before the stream: its message says why', {
        cause: error,
      })
    if (error instanceof CodedError || systemCode(error) === undefined) throw error
    throw new CommandError(`the stream cannot be written: ${messageOf(error)}`, { cause: error })
  } finally {
    progress.stop()
  }
}
