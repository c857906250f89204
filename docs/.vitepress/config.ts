/** The site of the documentation: `npm run docs` builds it into docs/.vitepress/dist, `npm run docs:serve` shows it while it is edited. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitepress'

const REFERENCE = join(import.meta.dirname, '../reference')

const page = (text: string, name: string): { text: string; link: string } => ({ text, link: `/${name}` })

export default defineConfig({
  title: 'zblkfs',
  description: 'A filesystem for files that are too big to copy',
  cleanUrls: true,
  // Links to files of the repository that are not pages.
  ignoreDeadLinks: [/\.\.\//],
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
