/** `zblkfs copy SRC DST`: a database with its history, from a file to a server or back. */
import { existsSync, readFileSync } from '../../store/os-files.ts'
import { mkdir, rm, writeFile } from '../../store/os-files-async.ts'
import { dirname } from 'node:path'
import { Command, Option } from 'commander'
import { copyDatabase } from '../../core/copy/copy-database.ts'
import { COMPRESSIONS, type CompressionName } from '../../store/compression.ts'
import { type EncryptionName, type EncryptionOptions, ENCRYPTIONS } from '../../store/encryption.ts'
import { canonicalName, importMapPath, isDatabaseUrl } from '../../store/database-name.ts'
import { formatTid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import { isOwn, recognise } from '../../store/recognise.ts'
import type { Store } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { count } from '../foreign/count.ts'
import { ProgressBar } from '../progress-bar.ts'
import { say, warn } from '../say.ts'
import { findTarget } from '../target.ts'

const PHASES = { copy: 'copying', compare: 'comparing' }

export function copyCommand(): Command {
  return new Command('copy')
    .description('Copy a database with its history, to another kind of place too, and compare the copy.')
    .argument('<src>', 'the database, or a mount of it; it may be in use')
    .argument('<dst>', 'a new database: a file, or postgres://USER@HOST/NAME')
    .option(
      '--bulk <s3-url>',
      'keep the bulk data of a copy on a server in a bucket: s3://BUCKET/PREFIX?endpoint=https://HOST',
    )
    .addOption(
      new Option('--compression <how>', 'how the copy stores data (default: as the source)').choices(
        COMPRESSIONS,
      ),
    )
    .addOption(
      new Option('--encryption <how>', 'encrypt the copy, with a new key (default: as the source)').choices(
        ENCRYPTIONS,
      ),
    )
    .addHelpText(
      'after',
      '\nRepeat an interrupted copy to resume it. Until it is complete the copy cannot be mounted.',
    )
    .action(copy)
}

async function copy(
  src: string,
  dst: string,
  options: {
    readonly bulk?: string
    readonly compression?: CompressionName
    readonly encryption?: EncryptionName
  },
): Promise<void> {
  const { bulk } = options
  const { database } = await findTarget(src)
  const target = canonicalName(dst)
  const mark = await markFor(database, target)
  const source = await openDatabase(database, { readOnly: true, warn })
  const progress = new ProgressBar('bytes')
  try {
    const purpose = `a copy of ${source.name}`
    const compression = options.compression ?? (await compressionFor(source, target))
    const copied = await openDatabase(target, {
      create: true,
      resumeImport: true,
      purpose,
      warn,
      ...(bulk !== undefined && { bulk }),
      compression,
      ...(await encryptionFor(source, options.encryption)),
    })
    try {
      const { transactions, records, upTo } = await copyDatabase({
        source,
        target: copied,
        onProgress: (phase, done, total) => progress.update(PHASES[phase], done, total),
      })
      await rm(mark, { force: true })
      progress.stop()
      say(
        `copied ${count(transactions, 'transaction')}, up to ${formatTid(upTo)}; compared ${count(records, 'record')}: all are the same`,
      )
    } finally {
      await copied.close()
    }
  } finally {
    progress.stop()
    await source.close()
  }
}

/** A copy of an encrypted database has its keys, unless the user wants something else. */
async function encryptionFor(
  { capabilities }: Store,
  wanted: EncryptionName | undefined,
): Promise<EncryptionOptions> {
  if (wanted !== undefined) return { encryption: wanted }
  const keys = await capabilities.encrypting?.copy()
  return keys === undefined ? {} : { encryption: 'aes-256-gcm', keys }
}

/** A server compresses by itself. */
async function compressionFor(source: Store, target: string): Promise<CompressionName | undefined> {
  return isDatabaseUrl(target) ? undefined : await source.capabilities.compressing?.compression()
}

/** The file that marks `target` as an unfinished copy of `source`. @throws CommandError if `target` is anything else. */
async function markFor(source: string, target: string): Promise<string> {
  const mark = importMapPath(target)
  const text = `a copy of ${source}\n`
  if (existsSync(mark) && readFileSync(mark, 'utf8') === text) return mark
  const kind = await recognise(target)
  if (kind !== 'none' || existsSync(mark))
    throw new CommandError(
      `${target} exists already${isOwn(kind) ? '' : ', and is a database of another program'}: name a new database`,
    )
  if (isDatabaseUrl(target)) await mkdir(dirname(mark), { recursive: true, mode: 0o700 })
  await writeFile(mark, text, { mode: 0o600 })
  return mark
}
