/** `zblkfs backup DB|DIR TARGET`: what has changed since the last backup, as a verified file in a directory. */
import { Command } from 'commander'
import { backupRaw } from '../../core/database/raw-streams.ts'
import type { BackedUp } from '../../core/database/stream-options.ts'
import { backup as makeBackup } from '../../core/database/streams.ts'
import { verifyStream } from '../../core/stream/backup.ts'
import { bytesIn, streamsIn } from '../../core/stream/directory.ts'
import { verifyRawStream } from '../../core/stream/raw.ts'
import { count } from '../foreign/count.ts'
import { ProgressBar } from '../progress-bar.ts'
import { say } from '../say.ts'
import { syncTarget } from '../sync-target.ts'
import { findTarget } from '../target.ts'
import { formatBytes } from '../units.ts'

interface Options {
  readonly full?: boolean
  readonly raw?: boolean
  readonly verify?: boolean
  readonly json?: boolean
}

const PHASES = { write: 'writing', verify: 'verifying' }

const NOTES = `
The first backup has everything, each later one what has changed since. Each file is read again and verified before it counts; copy the
directory wherever you like. To restore: 'zblkfs receive NEW TARGET'. If a pack has dropped the last transaction of the backup, the
next one has everything again: keep history longer than the time between two backups ('zblkfs history --keep').
With --raw, neither a backup nor its restore needs the key of an encrypted database; what is restored opens with the same key.`

export function backupCommand(): Command {
  return new Command('backup')
    .description('Back up a database into a directory: everything at first, then what has changed.')
    .argument('<db|dir>', 'the database, or a mount of it; it may be in use')
    .argument('<target>', 'a directory, which is created')
    .option('--full', 'begin with everything again')
    .option('--raw', 'back up an encrypted database as it is stored, without its key')
    .option('--verify', 'then read all files that a restore needs, and verify them')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', NOTES)
    .action(backup)
}

async function backup(
  place: string,
  directory: string,
  { full = false, raw = false, verify = false, json = false }: Options,
): Promise<void> {
  const target = await findTarget(place)
  await syncTarget(target)
  const progress = new ProgressBar('bytes')
  let result: BackedUp
  let verified: number | undefined
  try {
    result = await (raw ? backupRaw : makeBackup)(target.database, directory, {
      full,
      onProgress: (phase, done, total) => progress.update(PHASES[phase], done, total),
    })
    verified = verify ? await verifyAll(directory, raw, progress) : undefined
  } finally {
    progress.stop()
  }
  if (json) console.log(JSON.stringify({ ...result, ...(verified !== undefined && { verified }) }))
  else for (const line of describe(directory, result, verified)) say(line)
}

/** Resolves to the number of bytes. @throws StoreError */
async function verifyAll(directory: string, raw: boolean, progress: ProgressBar): Promise<number> {
  const paths = await streamsIn(directory)
  const total = await bytesIn(paths)
  let bytes = 0
  const onRead = (read: number): void => progress.add('verifying all', read, total)
  for (const path of paths)
    bytes += (await (raw ? verifyRawStream(path, onRead) : verifyStream(path, undefined, onRead))).bytes
  return bytes
}

function describe(
  directory: string,
  { files, transactions, bytes, tid, full }: BackedUp,
  verified: number | undefined,
): readonly string[] {
  const lines: string[] = []
  if (full === 'dropped')
    lines.push('a pack has dropped the last transaction of the backup: this one has everything again')
  if (files.length === 0) lines.push(`nothing has changed; ${directory} has everything up to ${tid}`)
  else {
    const size = `${formatBytes(bytes)} in ${count(transactions, 'transaction')}, ${count(files.length, 'file')}`
    lines.push(`backed up and verified ${size}; ${directory} has everything up to ${tid}`)
  }
  if (verified !== undefined) lines.push(`verified all ${formatBytes(verified)} that a restore needs`)
  return lines
}
