/** Completions for bash, zsh and fish, made from the definitions of the commands. */
import type { CommandDescription, OptionDescription } from './command-description.ts'

const optionWords = ({ options }: CommandDescription): string[] =>
  options.flatMap(({ short, long }) => [short, long].filter(flag => flag !== undefined))

/** Completes a command, its options and the choices of an option; everything else is a file. */
export function bashCompletion(commands: readonly CommandDescription[]): string {
  const options = commands.map(
    command => `    ${command.name}) words="${[...optionWords(command), '--help'].join(' ')}" ;;`,
  )
  const choices = commands.flatMap(({ name, options: own }) =>
    own.flatMap(({ short, long, choices: values }) =>
      values === undefined
        ? []
        : [
            `    ${[short, long]
              .filter(flag => flag !== undefined)
              .map(flag => `${name}:${flag}`)
              .join(' | ')}) COMPREPLY=($(compgen -W "${values.join(' ')}" -- "$current")); return ;;`,
          ],
    ),
  )
  return `# bash completion for zblkfs
_zblkfs() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]} words=
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')} --help --version" -- "$current"))
    return
  fi
  case $command:$previous in
${choices.join('\n')}
  esac
  case $command in
${options.join('\n')}
  esac
  case $current in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *) COMPREPLY=($(compgen -f -- "$current")) ;;
  esac
}
complete -o filenames -F _zblkfs zblkfs
`
}

export function zshCompletion(commands: readonly CommandDescription[]): string {
  const list = commands.map(({ name, summary }) => `    '${name}:${zshText(summary)}'`)
  const cases = commands.map(
    command =>
      `    ${command.name}) _arguments ${[...command.options.map(zshOption), "'*:file:_files'"].join(' ')} ;;`,
  )
  return `#compdef zblkfs
local -a commands
commands=(
${list.join('\n')}
)
if (( CURRENT == 2 )); then
  _describe 'command' commands
else
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
fi
`
}

function zshOption({ short, long, value, choices, help }: OptionDescription): string {
  const flags = [short, long].filter(flag => flag !== undefined)
  const argument =
    value === undefined
      ? ''
      : `:${zshText(value.replaceAll(/[<>[\]]/g, ''))}:${choices === undefined ? '_files' : `(${choices.join(' ')})`}`
  const body = `[${zshText(help)}]${argument}`
  return flags.length === 2
    ? `'(${flags.join(' ')})'{${flags.join(',')}}'${body}'`
    : `'${flags[0] ?? ''}${body}'`
}

const zshText = (words: string): string => words.replaceAll("'", "'\\''").replaceAll(/([:[\]])/g, '\\$1')

export function fishCompletion(commands: readonly CommandDescription[]): string {
  const lines = commands.flatMap(({ name, summary, options }) => [
    `complete -c zblkfs -n __fish_use_subcommand -f -a ${name} -d ${fishText(summary)}`,
    ...options.map(
      option => `complete -c zblkfs -n '__fish_seen_subcommand_from ${name}' ${fishOption(option)}`,
    ),
  ])
  return `# fish completion for zblkfs\n${lines.join('\n')}\n`
}

function fishOption({ short, long, value, choices, help }: OptionDescription): string {
  return [
    ...(short === undefined ? [] : [`-s ${short.replace(/^-+/, '')}`]),
    ...(long === undefined ? [] : [`-l ${long.replace(/^-+/, '')}`]),
    ...(value === undefined ? [] : ['-r']),
    ...(choices === undefined ? [] : [`-f -a '${choices.join(' ')}'`]),
    `-d ${fishText(help)}`,
  ].join(' ')
}

const fishText = (words: string): string => `'${words.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
