/** `node scripts/package/prune-declarations.ts DIR`: removes the declarations in a compiled tree that `index.d.ts` does not lead to. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'

const [directory] = process.argv.slice(2)
if (directory === undefined) throw new Error('usage: prune-declarations.ts DIRECTORY')

const kept = new Set<string>()
const left = [join(directory, 'index.d.ts')]
for (let file = left.pop(); file !== undefined; file = left.pop()) {
  if (kept.has(file)) continue
  kept.add(file)
  for (const [, specifier = ''] of readFileSync(file, 'utf8').matchAll(
    /(?:from |import\()['"](\.[^'"]+)['"]/g,
  )) {
    const declared = join(dirname(file), specifier.replace(/\.[jt]s$/, '.d.ts'))
    if (!existsSync(declared)) throw new Error(`${file} refers to ${specifier}, which has no declarations`)
    left.push(declared)
  }
}
for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
  const path = join(directory, name)
  if (name.endsWith('.d.ts') && !kept.has(path)) rmSync(path)
}
