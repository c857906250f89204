/**
 * Writes the generated pages of the documentation's site into docs/reference: one for each command, from the commands' own
 * definitions, and, in `files`, one for each file of the repository beside docs/ to which a page links.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { loadCommands } from '../command-table.ts'
import { describeCommand, type CommandDescription } from '../package/command-description.ts'

const ROOT = join(import.meta.dirname, '../..')
const DOCS = join(ROOT, 'docs')
const REFERENCE = join(DOCS, 'reference')
const FILES = join(REFERENCE, 'files')

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

/** The files beside docs/ to which a page links, from the root of the repository. */
async function linkedFiles(): Promise<ReadonlySet<string>> {
  const names = (await readdir(DOCS)).filter(name => name.endsWith('.md'))
  const pages = await Promise.all(names.map(name => readFile(join(DOCS, name), 'utf8')))
  const links = pages.flatMap(page => [...page.matchAll(/\]\(\.\.\/([^)#]+)/g)])
  return new Set(links.map(([, path = '']) => path))
}

/** The page of a file of the repository. */
function filePage(path: string, text: string): string {
  if (path.endsWith('.md')) return text.replaceAll('](docs/', '](/')
  return `# ${path}\n\n\`\`\`${path.split('.').at(-1)}\n${text.trimEnd()}\n\`\`\`\n`
}

if (import.meta.main) {
  await rm(REFERENCE, { recursive: true, force: true })
  await mkdir(REFERENCE)
  for (const command of await loadCommands()) {
    const description = describeCommand(command)
    await writeFile(join(REFERENCE, `${description.name}.md`), referencePage(description))
  }
  for (const path of await linkedFiles()) {
    const page = join(FILES, path.endsWith('.md') ? path : `${path}.md`)
    await mkdir(dirname(page), { recursive: true })
    await writeFile(page, filePage(path, await readFile(join(ROOT, path), 'utf8')))
  }
}
