/** The site of the documentation: `npm run docs` builds it into docs/.vitepress/dist, `npm run docs:serve` shows it while it is edited. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitepress'

const REFERENCE = join(import.meta.dirname, '../reference')

const page = (text: string, name: string): { text: string; link: string } => ({ text, link: `/${name}` })

/** The anchor of a heading. */
const slugify = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-')

/** Leads links to files of the repository beside docs/ to the pages that scripts/docs/reference.ts makes of them. */
function linkFiles({ tokens }: { readonly tokens: readonly Token[] }): void {
  for (const token of tokens.flatMap(({ children }) => children ?? [])) {
    const href = token.type === 'link_open' ? token.attrGet('href') : null
    if (href?.startsWith('../') === true)
      token.attrSet('href', `/reference/files/${href.slice(3).replace(/\.md$/, '')}`)
  }
}

/** Of markdown-it. */
interface Token {
  readonly type: string
  readonly children: readonly Token[] | null
  attrGet(name: string): string | null
  attrSet(name: string, value: string): void
}

export default defineConfig({
  title: 'zblkfs',
  description: 'A filesystem for files that are too big to copy',
  cleanUrls: true,
  markdown: {
    // Links to headings are written as GitHub has them.
    anchor: { slugify },
    config: markdown => markdown.core.ruler.push('repository-files', linkFiles),
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [page('Install', 'install'), page('Commands', 'commands'), page('SDK', 'sdk')],
    sidebar: [
      {
        text: 'Use it',
        items: [
          page('Install', 'install'),
          page('How-tos', 'how-to'),
          page('The past, undo, transactions', 'time-travel'),
          page('Branches', 'branches'),
          page('Backups', 'backup'),
          page('Space and history', 'pack'),
          page('Check and repair', 'fsck'),
          page('In a browser', 'web'),
          page('Monitoring', 'monitoring'),
          page('From a program', 'sdk'),
          page('On many machines', 'many-machines'),
          page('Without FUSE', 'serve'),
          page('Compression', 'compression'),
          page('Encryption', 'encryption'),
          page('ZODB databases', 'zodb'),
        ],
      },
      {
        text: 'What to expect',
        items: [
          page('Durability', 'durability'),
          page('The filesystem', 'filesystem'),
          page('POSIX', 'posix'),
          page('Security', 'security'),
          page('Drivers', 'drivers'),
          page('Performance', 'performance'),
          page('Growth', 'growth'),
        ],
      },
      {
        text: 'Commands',
        collapsed: true,
        items: [
          page('Overview', 'commands'),
          ...readdirSync(REFERENCE)
            .filter(name => name.endsWith('.md'))
            .toSorted()
            .map(name =>
              page(`zblkfs ${name.replace(/\.md$/, '')}`, `reference/${name.replace(/\.md$/, '')}`),
            ),
        ],
      },
      {
        text: 'How it is built',
        collapsed: true,
        items: [
          page('Architecture', 'architecture'),
          page('On-disk format', 'format'),
          page('Stream format', 'stream-format'),
          page('Adding a store', 'adding-a-store'),
          page('Adding a driver', 'adding-a-driver'),
          page('Testing', 'testing'),
          page('Notes', 'notes'),
        ],
      },
    ],
  },
})
