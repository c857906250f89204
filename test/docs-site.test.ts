/** The site of the documentation, as `npm run docs` builds it. */
import { cp, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { COMMANDS } from '../scripts/command-table.ts'
import { runProgram } from './tools/run-zblkfs.ts'

const ROOT = join(import.meta.dirname, '..')
const TIMEOUT_MS = 300_000
const COPIED = [
  'docs',
  'examples',
  'CHANGELOG.md',
  'scripts',
  'mount',
  'core',
  'store',
  'index.ts',
  'package.json',
  'tsconfig.json',
]

test(
  'the site builds without dead links and has every page and command',
  async () => {
    const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-docs-site-'))
    try {
      for (const name of COPIED) await cp(join(ROOT, name), join(scratch, name), { recursive: true })
      await symlink(join(ROOT, 'node_modules'), join(scratch, 'node_modules'))
      const { exitCode, stderr } = await runProgram(
        'sh',
        ['-c', `cd '${scratch}' && npm run --silent docs`],
        TIMEOUT_MS,
      )
      expect(`${exitCode} ${stderr}`).toMatch(/^0 /)
      const site = join(scratch, 'docs/.vitepress/dist')
      const pages = (await readdir(join(ROOT, 'docs'))).filter(name => name.endsWith('.md'))
      const built = await readdir(site)
      for (const page of pages) expect(built).toContain(page.replace(/md$/, 'html'))
      for (const command of Object.keys(COMMANDS))
        expect(await readFile(join(site, 'reference', `${command}.html`), 'utf8')).toContain(
          `zblkfs ${command}`,
        )
    } finally {
      await rm(scratch, { recursive: true, force: true })
    }
  },
  TIMEOUT_MS,
)
