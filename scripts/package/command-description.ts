/** What man pages and shell completions need to know of a command, read from its definition. */
import type { Argument, Command, Option } from 'commander'

/** An option as its definition writes it. */
export interface OptionDescription {
  /** `-o`, absent if there is no short form. */
  readonly short: string | undefined
  /** `--option` */
  readonly long: string | undefined
  /** `-o, --option <options>` */
  readonly flags: string
  /** The value's name with its brackets, `<options>`; absent for a switch. */
  readonly value: string | undefined
  /** The valid values; absent if there is no restriction. */
  readonly choices: readonly string[] | undefined
  /** Ends without a period. */
  readonly help: string
}

/** A positional argument. */
export interface ArgumentDescription {
  /** `<db>`, `[path...]` */
  readonly form: string
  readonly help: string
}

export interface CommandDescription {
  readonly name: string
  readonly summary: string
  readonly arguments: readonly ArgumentDescription[]
  readonly options: readonly OptionDescription[]
  /** The text after the options in its help; empty if there is none. */
  readonly notes: string
}

/** Describes a command. */
export function describeCommand(command: Command): CommandDescription {
  return {
    name: command.name(),
    summary: command.description(),
    arguments: command.registeredArguments.map(describeArgument),
    options: command.options.filter(({ hidden }) => !hidden).map(describeOption),
    notes: notesOf(command),
  }
}

function describeArgument(argument: Argument): ArgumentDescription {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`
  const form = argument.required ? `<${name}>` : `[${name}]`
  return { form, help: withDefault(argument.description, argument.defaultValue) }
}

function describeOption(option: Option): OptionDescription {
  const { short, long, flags, description, argChoices, defaultValue } = option
  return {
    short,
    long,
    flags,
    value: /[<[].*[>\]]$/.exec(flags)?.[0],
    choices: argChoices,
    help: withDefault(description, defaultValue),
  }
}

function withDefault(help: string, value: unknown): string {
  const isShown = (typeof value === 'string' && value !== '') || typeof value === 'number'
  return isShown ? `${help} (default: ${String(value)})` : help
}

/** The text that {@link Command.addHelpText} adds exists only as part of what is printed. */
function notesOf(command: Command): string {
  const before = command.helpInformation()
  let printed = ''
  command.configureOutput({ writeOut: text => (printed += text) })
  command.outputHelp()
  return printed.startsWith(before) ? printed.slice(before.length).trim() : ''
}
