/**
 * The `zblkfs` command: its subcommands, and how failures become messages and exit codes. A subcommand is loaded when
 * it is asked for, all of them only for the help: most of the time of a short command would go into loading the rest.
 */
import { Command, CommanderError } from 'commander'
import packageJson from '../package.json' with { type: 'json' }
import { CodedError } from '../store/errors.ts'
import { explain } from './advice.ts'
import { EXIT_FAILURE, EXIT_USAGE, UsageError } from './failure.ts'

/** In the order of the help. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  mount: async () => (await import('./commands/mount.ts')).mountCommand(),
  umount: async () => (await import('./commands/umount.ts')).umountCommand(),
  status: async () => (await import('./commands/status.ts')).statusCommand(),
  sync: async () => (await import('./commands/sync.ts')).syncCommand(),
  log: async () => (await import('./commands/log.ts')).logCommand(),
  diff: async () => (await import('./commands/diff.ts')).diffCommand(),
  ls: async () => (await import('./commands/ls.ts')).lsCommand(),
  cat: async () => (await import('./commands/cat.ts')).catCommand(),
  tag: async () => (await import('./commands/tag.ts')).tagCommand(),
  undo: async () => (await import('./commands/undo.ts')).undoCommand(),
  restore: async () => (await import('./commands/restore.ts')).restoreCommand(),
  clone: async () => (await import('./commands/clone.ts')).cloneCommand(),
  txn: async () => (await import('./commands/txn.ts')).txnCommand(),
  pack: async () => (await import('./commands/pack.ts')).packCommand(),
  fsck: async () => (await import('./commands/fsck.ts')).fsckCommand(),
  import: async () => (await import('./commands/import.ts')).importCommand(),
  export: async () => (await import('./commands/export.ts')).exportCommand(),
  df: async () => (await import('./commands/df.ts')).dfCommand(),
}

process.exitCode = await run(process.argv)

async function run(argv: readonly string[]): Promise<number> {
  const program = new Command('zblkfs')
    .description('Mount a transactional object database as a directory of big files.')
    .version(packageJson.version)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("see 'zblkfs --help'")
  try {
    for (const load of neededBy(argv[2])) {
      const command = await load()
      program.addCommand(command.exitOverride().showHelpAfterError(`see 'zblkfs ${command.name()} --help'`))
    }
    await program.parseAsync(argv)
    return Number(process.exitCode ?? 0)
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
    console.error(error instanceof CodedError ? `zblkfs: ${explain(error)}` : error)
    return error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE
  }
}

/** The commands that must be known to answer what the first argument asks. */
function neededBy(first: string | undefined): readonly (() => Promise<Command>)[] {
  if (first === '--version' || first === '-V') return []
  const asked = first !== undefined && Object.hasOwn(COMMANDS, first) ? COMMANDS[first] : undefined
  return asked === undefined ? Object.values(COMMANDS) : [asked]
}
