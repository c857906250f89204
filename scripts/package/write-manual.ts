/** `node scripts/package/write-manual.ts DIR`: writes the man pages, for the npm package. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import packageJson from '../../package.json' with { type: 'json' }
import { loadCommands } from '../command-table.ts'
import { describeCommand } from './command-description.ts'
import { manualPages } from './manual.ts'

const [directory] = process.argv.slice(2)
if (directory === undefined) throw new Error('usage: write-manual.ts DIRECTORY')
mkdirSync(directory, { recursive: true })
const date = new Date().toISOString().slice(0, 10)
const commands = (await loadCommands()).map(describeCommand)
for (const { file, text } of manualPages(commands, { version: packageJson.version, date }))
  writeFileSync(join(directory, file), text)
