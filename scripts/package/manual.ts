/**
 * Man pages, made from the definitions of the commands: zblkfs(1) lists them, zblkfs-NAME(1) has one each.
 * Source of the macros: man(7).
 */
import type { CommandDescription } from './command-description.ts'

/** Texts in the header and footer of each page. */
export interface ManualSource {
  readonly version: string
  /** YYYY-MM-DD */
  readonly date: string
}

/** A page's file name and its text. */
export interface ManualPage {
  readonly file: string
  readonly text: string
}

/** All pages. */
export function manualPages(commands: readonly CommandDescription[], source: ManualSource): ManualPage[] {
  return [overview(commands, source), ...commands.map(command => commandPage(command, source))]
}

function overview(commands: readonly CommandDescription[], source: ManualSource): ManualPage {
  const lines = [
    header('zblkfs', source),
    '.SH NAME',
    'zblkfs \\- a filesystem for files too big to copy, with every moment of its past',
    '.SH SYNOPSIS',
    '.B zblkfs',
    '.I command',
    '.RI [ arguments ]',
    '.SH DESCRIPTION',
    ...paragraphs(
      'zblkfs mounts a transactional object database as a directory of big files. A small change costs what it ' +
        'changes, every transaction stays readable as a directory of its time, and the database is one SQLite ' +
        'file with a directory of log files next to it.',
    ),
    '.SH COMMANDS',
  ]
  for (const { name, summary } of commands) lines.push('.TP', `.BR zblkfs\\-${text(name)} (1)`, text(summary))
  lines.push(
    '.SH EXIT STATUS',
    ...definitions([
      ['0', 'Success.'],
      ['1', 'Failure; the message says why, and what to do next.'],
      ['2', 'Wrong usage.'],
    ]),
    '.SH EXAMPLES',
    ...example(
      'Mount a database, which is created if it does not exist:',
      'zblkfs mount ~/files.zblk ~/files',
    ),
    ...example('List the directory as it was ten minutes ago:', 'ls ~/files/@10min/'),
    ...example('Store everything and unmount:', 'zblkfs umount ~/files'),
  )
  return { file: 'zblkfs.1', text: `${lines.join('\n')}\n` }
}

function commandPage(command: CommandDescription, source: ManualSource): ManualPage {
  const { name, summary } = command
  const lines = [
    header(`zblkfs-${name}`, source),
    '.SH NAME',
    `zblkfs\\-${text(name)} \\- ${text(firstSentence(summary))}`,
    '.SH SYNOPSIS',
    `.B zblkfs ${text(name)}`,
    ...(command.options.length > 0 ? ['.RI [ options ]'] : []),
    ...command.arguments.map(({ form }) => `.I ${text(form)}`),
    '.SH DESCRIPTION',
    ...paragraphs(summary),
  ]
  if (command.arguments.length > 0)
    lines.push('.SH ARGUMENTS', ...definitions(command.arguments.map(({ form, help }) => [form, help])))
  if (command.options.length > 0)
    lines.push(
      '.SH OPTIONS',
      ...definitions(command.options.map(({ flags, help, choices }) => [flags, withChoices(help, choices)])),
    )
  if (command.notes !== '') lines.push('.SH NOTES', '.nf', ...command.notes.split('\n').map(text), '.fi')
  lines.push('.SH SEE ALSO', '.BR zblkfs (1)')
  return { file: `zblkfs-${name}.1`, text: `${lines.join('\n')}\n` }
}

const header = (name: string, { version, date }: ManualSource): string =>
  `.TH ${text(name.toUpperCase())} 1 "${date}" "zblkfs ${version}" "User Commands"`

const firstSentence = (words: string): string => (/^[^.]*/.exec(words)?.[0] ?? words).trim()

const withChoices = (help: string, choices: readonly string[] | undefined): string =>
  choices === undefined ? help : `${help}: ${choices.join(', ')}`

function paragraphs(words: string): string[] {
  return words.split('\n\n').flatMap((paragraph, i) => [...(i === 0 ? [] : ['.PP']), text(paragraph)])
}

function definitions(pairs: readonly (readonly [term: string, help: string])[]): string[] {
  return pairs.flatMap(([term, help]) => ['.TP', `.B ${text(term)}`, text(help === '' ? term : help)])
}

function example(words: string, command: string): string[] {
  return ['.PP', text(words), '.PP', '.RS', '.nf', text(command), '.fi', '.RE']
}

/** Escapes what roff would read as its own: backslashes, hyphens, and a dot or quote at a line's start. */
function text(words: string): string {
  return words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replaceAll(/^([.'])/gm, '\\&$1')
}
