/** Writes a page for each command into docs/reference, from the commands' own definitions. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadCommands } from '../command-table.ts'
import { describeCommand, type CommandDescription } from '../package/command-description.ts'

const REFERENCE = join(import.meta.dirname, '../../docs/reference')

/** The page of a command, in Markdown. */
export function referencePage(command: CommandDescription): string {
  const { name, summary, options, notes } = command
  const usage = [
    'zblkfs',
    name,
    ...(options.length > 0 ? ['[options]'] : []),
    ...command.arguments.map(({ form }) => form),
  ]
  const sections = [`# zblkfs ${name}`, escaped(summary), `\`\`\`text\n${usage.join(' ')}\n\`\`\``]
  if (command.arguments.length > 0)
    sections.push(
      '## Arguments',
      table(
        ['Argument', 'Meaning'],
        command.arguments.map(({ form, help }) => [form, help]),
      ),
    )
  if (options.length > 0)
    sections.push(
      '## Options',
      table(
        ['Option', 'Meaning'],
        options.map(({ flags, help }) => [flags, help]),
      ),
    )
  if (notes !== '') sections.push('## Notes', `\`\`\`text\n${notes}\n\`\`\``)
  return `${sections.join('\n\n')}\n`
}

const table = (head: readonly string[], rows: readonly (readonly [code: string, text: string])[]): string =>
  [
    `| ${head.join(' | ')} |`,
    `| ${head.map(() => '---').join(' | ')} |`,
    ...rows.map(([code, text]) => `| \`${code.replaceAll('|', '\\|')}\` | ${escaped(text)} |`),
  ].join('\n')

/** Text in which nothing is markup, neither of Markdown nor of Vue. */
const escaped = (text: string): string =>
  text.replaceAll(/[\\`*_{}[\]<>|]/g, character => `&#${character.charCodeAt(0)};`).replaceAll('\n', ' ')

if (import.meta.main) {
  await rm(REFERENCE, { recursive: true, force: true })
  await mkdir(REFERENCE)
  for (const command of await loadCommands()) {
    const description = describeCommand(command)
    await writeFile(join(REFERENCE, `${description.name}.md`), referencePage(description))
  }
}
