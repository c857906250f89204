/** The `zblkfs` command: its subcommands, and how failures become messages and exit codes. */
import { Command, CommanderError } from 'commander'
import packageJson from '../package.json' with { type: 'json' }
import { CannotOpenError, StoreError } from '../store/errors.ts'
import { MountError } from '../mount/drivers/driver.ts'
import { CallFailedError } from '../mount/daemon/control-protocol.ts'
import { dfCommand } from './commands/df.ts'
import { exportCommand } from './commands/export.ts'
import { catCommand } from './commands/cat.ts'
import { diffCommand } from './commands/diff.ts'
import { fsckCommand } from './commands/fsck.ts'
import { importCommand } from './commands/import.ts'
import { logCommand } from './commands/log.ts'
import { lsCommand } from './commands/ls.ts'
import { mountCommand } from './commands/mount.ts'
import { packCommand } from './commands/pack.ts'
import { statusCommand } from './commands/status.ts'
import { syncCommand } from './commands/sync.ts'
import { tagCommand } from './commands/tag.ts'
import { undoCommand } from './commands/undo.ts'
import { restoreCommand } from './commands/restore.ts'
import { cloneCommand } from './commands/clone.ts'
import { txnCommand } from './commands/txn.ts'
import { umountCommand } from './commands/umount.ts'
import { CommandError, EXIT_FAILURE, EXIT_USAGE, UsageError } from './failure.ts'

/** Errors whose message says all that a person needs; others are mistakes of ours and come with their stack. */
const EXPECTED = [CommandError, MountError, CannotOpenError, StoreError, CallFailedError]

const program = new Command('zblkfs')
  .description('Mount a transactional object database as a directory of big files.')
  .version(packageJson.version)
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError("see 'zblkfs --help'")

const COMMANDS = [
  mountCommand,
  umountCommand,
  statusCommand,
  syncCommand,
  logCommand,
  diffCommand,
  lsCommand,
  catCommand,
  tagCommand,
  undoCommand,
  restoreCommand,
  cloneCommand,
  txnCommand,
  packCommand,
  fsckCommand,
  importCommand,
  exportCommand,
  dfCommand,
]

for (const command of COMMANDS.map(make => make()))
  program.addCommand(command.exitOverride().showHelpAfterError(`see 'zblkfs ${command.name()} --help'`))

process.exitCode = await run(process.argv)

async function run(argv: readonly string[]): Promise<number> {
  try {
    await program.parseAsync(argv)
    return Number(process.exitCode ?? 0)
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
    if (error instanceof UsageError) {
      console.error(`zblkfs: ${error.message}`)
      return EXIT_USAGE
    }
    const expected = EXPECTED.some(type => error instanceof type)
    console.error(expected && error instanceof Error ? `zblkfs: ${error.message}` : error)
    return EXIT_FAILURE
  }
}
