/**
 * The `zblkfs` command: its subcommands, and how failures become messages and exit codes. A subcommand is loaded when
 * it is needed, all of them only for the help: most of the time of a short command would go into loading the rest.
 */
import { printableLines } from '../core/printable.ts'
import { Command, CommanderError } from 'commander'
import packageJson from '../package.json' with { type: 'json' }
import { setKeySource } from '../store/database-key.ts'
import { CodedError } from '../store/errors.ts'
import { explain } from './advice.ts'
import { NO_WORKING_DIRECTORY } from '../mount/mount-points/locate.ts'
import { COMMANDS } from './command-table.ts'
import { EXIT_FAILURE, EXIT_USAGE, UsageError } from './failure.ts'
import { keySourceOf } from './key-source.ts'

/** Errors about a command line quote its words. */
const OUTPUT = { writeErr: (text: string): boolean => process.stderr.write(printableLines(text)) }

/** Runs a command line, which begins with the interpreter and the script; resolves to the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  const program: Command = new Command('zblkfs')
    .description('Mount a transactional object database as a directory of big files.')
    .version(packageJson.version)
    .exitOverride()
    .option('--key-file <file>', 'the key file of an encrypted database; also ZBLKFS_KEY_FILE')
    .option('--key-command <command>', 'a command that prints its key; also ZBLKFS_KEY_COMMAND')
    .hook('preAction', () => setKeySource(keySourceOf(program.opts())))
    .configureHelp({ showGlobalOptions: true })
    .configureOutput(OUTPUT)
    .showHelpAfterError("see 'zblkfs --help'")
  try {
    for (const load of neededBy(argv[2])) {
      const command = await load()
      program.addCommand(
        command
          .exitOverride()
          .configureOutput(OUTPUT)
          .showHelpAfterError(`see 'zblkfs ${command.name()} --help'`),
      )
    }
    escapeErrors(program)
    await program.parseAsync(argv)
    return Number(process.exitCode ?? 0)
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
    const known = error instanceof CodedError ? explain(error) : ofThePlace(error)
    console.error(known === undefined ? error : `zblkfs: ${printableLines(known)}`)
    return error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE
  }
}

/** Has errors of the command line escaped: they quote arguments, which may be names of files. */
function escapeErrors(command: Command): void {
  command.configureOutput({ outputError: (text, write) => write(printableLines(text)) })
  for (const below of command.commands) escapeErrors(below)
}

/** What is wrong with the place that the command was run in: any of its calls may be the one that fails. */
function ofThePlace(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  if ('syscall' in error && error.syscall === 'uv_cwd') return NO_WORKING_DIRECTORY
  return error.code === 'EMFILE' ? "too many open files: raise the limit with 'ulimit -n 1024'" : undefined
}

/** The commands that must be known to answer what the first argument asks. */
function neededBy(first: string | undefined): readonly (() => Promise<Command>)[] {
  if (first === '--version' || first === '-V') return []
  const asked = first !== undefined && Object.hasOwn(COMMANDS, first) ? COMMANDS[first] : undefined
  return asked === undefined ? Object.values(COMMANDS) : [asked]
}
