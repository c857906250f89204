/**
 * Packs `zblkfs@0.0.1`, which ends its installation with one line that says which Node is needed.
 *
 *   npm run package:old-node [-- --to DIR]    then, once: npm publish zblkfs-0.0.1.tgz --tag old-node
 *
 * Of the versions of a package, npm installs the newest whose `engines` the running Node satisfies. This version declares every Node
 * that zblkfs does not run on, so that npm chooses it there, and runs its script. Thus zblkfs itself needs no script, of which npm
 * would warn every user of a Node that is new enough.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

const ROOT = join(import.meta.dirname, '../..')
const VERSION = '0.0.1'

interface PackageJson {
  readonly name: string
  readonly license: string
  readonly engines: { readonly node: string }
}

/** Runs on any Node. */
const checkScript = (name: string, minimum: string): string => `'use strict'
console.error(
  '${name} needs Node ${minimum} or later, and this is ' + process.version +
    ': nothing is installed; install a newer Node from https://nodejs.org, or the Debian package, which has its own'
)
process.exit(1)
`

/** Writes the package into a directory. @throws Error if the package that it stands for has another form of `engines`. */
function writePackage(directory: string): void {
  const { name, license, engines } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  ) as PackageJson
  const minimum = /^>=(\d[\d.]*)$/.exec(engines.node)?.[1]
  if (minimum === undefined) throw new Error(`engines.node of package.json is ${engines.node}, not >=VERSION`)
  const metadata = {
    name,
    version: VERSION,
    description: `Says that ${name} needs Node ${minimum} or later`,
    license,
    engines: { node: `<${minimum}` },
    os: ['linux'],
    files: ['check-node.js'],
    scripts: { preinstall: 'node check-node.js' },
  }
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify(metadata, undefined, 2)}\n`)
  writeFileSync(join(directory, 'check-node.js'), checkScript(name, minimum))
}

const { values } = parseArgs({ options: { to: { type: 'string', default: '.' } } })
const directory = mkdtempSync(join(tmpdir(), 'zblkfs-old-node-'))
try {
  writePackage(directory)
  const options = ['pack', '--silent', '--pack-destination', resolve(values.to)]
  console.log(execFileSync('npm', options, { cwd: directory, encoding: 'utf8' }).trim())
} finally {
  rmSync(directory, { recursive: true, force: true })
}
