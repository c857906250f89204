/**
 * Builds self-contained packages: a Debian package, and a tarball of the same program for other Linuxes.
 *
 *   npm run package:deb [-- --arch amd64|arm64] [--compress xz|none] [--to DIR]
 *
 * Both have their own Node, so neither depends on the one that the system has, and no step runs a compiler: the
 * native modules and Node come as binaries for the other processor as well. The tree that is packed:
 *
 *   /usr/bin/zblkfs                   runs the program with its own Node
 *   /usr/lib/zblkfs/                  node, dist/ (the compiled program), node_modules/ (what it needs at run time)
 *   /usr/sbin/mount.zblkfs ...        what mount(8) and umount(8) call
 *   /usr/lib/systemd/                 units: zblkfs@.service, its user unit, a monthly check
 *   /usr/share/man, bash-completion, zsh, fish
 */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { loadCommands } from '../command-table.ts'
import { describeCommand } from './command-description.ts'
import { bashCompletion, fishCompletion, zshCompletion } from './completion.ts'
import { changelog, control, COPYRIGHT, LINTIAN_OVERRIDES } from './debian-metadata.ts'
import { manualPages } from './manual.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FILES = join(ROOT, 'scripts/package/files')
const EXECUTABLE = 0o755

/** Debian's name of a processor, and npm's. */
const ARCHITECTURES = { amd64: 'x64', arm64: 'arm64' } as const
type Architecture = keyof typeof ARCHITECTURES

interface Build {
  readonly architecture: Architecture
  /** A directory for intermediate files. */
  readonly work: string
  readonly version: string
  readonly nodeVersion: string
}

async function main(): Promise<void> {
  const { arch: architecture, compress } = values
  if (architecture !== 'amd64' && architecture !== 'arm64')
    throw new Error(`--arch ${architecture} is unknown: it is amd64 or arm64`)
  const work = mkdtempSync(join(tmpdir(), 'zblkfs-deb-'))
  try {
    const { version, devDependencies } = readPackage()
    const build: Build = { architecture, work, version, nodeVersion: devDependencies['node'] ?? '' }
    stageProgram(build)
    await stageDocumentation(build)
    stageSystemFiles(build)
    console.log(packDebian(build, resolve(values.to), compress))
    console.log(packTarball(build, resolve(values.to), compress))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

interface PackageJson {
  readonly version: string
  readonly devDependencies: Readonly<Record<string, string>>
}

const readPackage = (): PackageJson =>
  JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as PackageJson

const run = (program: string, parameters: readonly string[], cwd: string): string =>
  execFileSync(program, parameters, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

/** The compiled program, its modules and Node, below /usr/lib/zblkfs. */
function stageProgram(build: Build): void {
  const lib = inTree(build, 'usr/lib/zblkfs')
  mkdirSync(lib, { recursive: true })
  run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.build.json', '--outDir', join(lib, 'dist')], ROOT)
  for (const file of ['package.json', 'package-lock.json']) cpSync(join(ROOT, file), join(lib, file))
  const cpu = ARCHITECTURES[build.architecture]
  const flags = ['--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  run('npm', ['ci', ...flags, '--os=linux', `--cpu=${cpu}`, '--libc=glibc'], lib)
  // What npm would check again, or install for development.
  run(
    'npm',
    [
      'pkg',
      'delete',
      'peerDependencies',
      'peerDependenciesMeta',
      'devDependencies',
      'scripts',
      'allowScripts',
    ],
    lib,
  )
  run('npm', ['prune', ...flags, '--os=linux', `--cpu=${cpu}`, '--libc=glibc'], lib)
  rmSync(join(lib, 'package-lock.json'))
  removeUnused(join(lib, 'node_modules'), cpu)
  const node = `node-linux-${cpu}@${build.nodeVersion}`
  const archive = run('npm', ['pack', '--silent', '--pack-destination', build.work, node], build.work).trim()
  run('tar', ['xzf', archive, 'package/bin/node'], build.work)
  cpSync(join(build.work, 'package/bin/node'), join(lib, 'node'))
}

/** What a module needs at run time: code, data that the code loads, and its licence. */
const NEEDED = /\.(?:js|cjs|mjs|json|node|wasm)$|licen[cs]e/i
/** Directories of modules that nothing loads: tests, tools, sources of what is there as a binary. */
const UNUSED =
  /(?:^|\/)(?:test|tests|docs?|tools|examples?|benchmarks?|deps|vendor|\.[^/]*)\/|^node-addon-api\/|cnoke|trampolines|^pino\/bin/

/** Keeps the parts of the modules that are needed at run time, and the binaries of this platform. */
function removeUnused(modules: string, cpu: string): void {
  for (const entry of readdirSync(modules, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const name = relative(modules, path)
    const isForeign =
      /(?:prebuilds|koffi-linux-)/.test(name) && name.endsWith('.node') && !isBinaryOf(name, cpu)
    if (entry.isSymbolicLink() || (entry.isFile() && (UNUSED.test(name) || !NEEDED.test(name) || isForeign)))
      rmSync(path)
    else if (entry.isFile()) chmodSync(path, 0o644)
  }
  run('find', [modules, '-type', 'd', '-empty', '-delete'], modules)
}

const isBinaryOf = (name: string, cpu: string): boolean =>
  name.endsWith(`prebuilds/linux-${cpu}.node`) || name.includes(`/linux_${cpu}/`)

/** Man pages and completions, of the commands as they are. */
async function stageDocumentation(build: Build): Promise<void> {
  const commands = (await loadCommands()).map(describeCommand)
  const source = { version: build.version, date: changelog(build).date }
  for (const { file, text } of manualPages(commands, source))
    writeTree(build, `usr/share/man/man1/${file}.gz`, compressed(text))
  writeTree(build, 'usr/share/bash-completion/completions/zblkfs', bashCompletion(commands))
  writeTree(build, 'usr/share/zsh/vendor-completions/_zblkfs', zshCompletion(commands))
  writeTree(build, 'usr/share/fish/vendor_completions.d/zblkfs.fish', fishCompletion(commands))
  writeTree(build, 'usr/share/doc/zblkfs/copyright', COPYRIGHT)
  writeTree(build, 'usr/share/doc/zblkfs/changelog.gz', compressed(changelog(build).text))
  writeTree(build, 'usr/share/lintian/overrides/zblkfs', LINTIAN_OVERRIDES)
}

/** What other programs of the system call. */
function stageSystemFiles(build: Build): void {
  writeTree(
    build,
    'usr/bin/zblkfs',
    '#!/bin/sh\nlib=$(dirname "$(readlink -f "$0")")/../lib/zblkfs\n' +
      'exec "$lib/node" --disable-warning=ExperimentalWarning "$lib/dist/scripts/main.js" "$@"\n',
    EXECUTABLE,
  )
  writeTree(build, 'usr/sbin/mount.zblkfs', packaged('mount.zblkfs'), EXECUTABLE)
  writeTree(build, 'usr/sbin/umount.fuse.zblkfs', packaged('umount.fuse.zblkfs'), EXECUTABLE)
  symlinkSync('mount.zblkfs', inTree(build, 'usr/sbin/mount.fuse.zblkfs'))
  writeTree(build, 'usr/lib/zblkfs/scrub', packaged('scrub'), EXECUTABLE)
  for (const unit of ['zblkfs@.service', 'zblkfs-scrub@.service', 'zblkfs-scrub@.timer'])
    writeTree(build, `usr/lib/systemd/system/${unit}`, packaged(unit))
  writeTree(build, 'usr/lib/systemd/user/zblkfs@.service', packaged('zblkfs@.user.service'))
}

function packDebian(build: Build, to: string, compress: string): string {
  const tree = inTree(build, '')
  const kibibytes = Number(run('du', ['-sk', tree], tree).split('\t')[0])
  writeTree(build, 'DEBIAN/control', control({ ...build, kibibytes }))
  const file = join(to, `zblkfs_${build.version}_${build.architecture}.deb`)
  run('dpkg-deb', ['--root-owner-group', `-Z${compress}`, '--build', tree, file], build.work)
  return file
}

/** To be unpacked at / or, for one user, anywhere: bin/zblkfs finds its program beside it. */
function packTarball(build: Build, to: string, compress: string): string {
  const extension = compress === 'none' ? 'tar' : `tar.${compress}`
  const file = join(to, `zblkfs-${build.version}-linux-${build.architecture}.${extension}`)
  const flags = ['--owner=0', '--group=0', '--exclude=usr/share/lintian', '--auto-compress']
  run('tar', [...flags, '-cf', file, '-C', inTree(build, ''), 'usr'], build.work)
  return file
}

const inTree = ({ work }: Build, path: string): string => join(work, 'tree', path)

function writeTree(build: Build, path: string, content: string | Uint8Array, mode = 0o644): void {
  const file = inTree(build, path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, content, { mode })
}

const packaged = (name: string): string => readFileSync(join(FILES, name), 'utf8')

/** Without a name and time, so that the same input gives the same bytes. */
const compressed = (text: string): Uint8Array => gzipSync(text, { level: 9 })

const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: process.arch === 'arm64' ? 'arm64' : 'amd64' },
    compress: { type: 'string', default: 'xz' },
    to: { type: 'string', default: '.' },
  },
})
await main()
