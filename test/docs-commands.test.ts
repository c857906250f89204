/**
 * Runs the commands of README.md and docs/, page by page, in an empty home directory.
 *
 * - A `console` block has commands after `$ ` and their output, which is compared; a line `...` stands for any lines. Transaction
 *   ids differ: one that an output shows is replaced by the actual one in later commands. In a `sh` block every line is a command.
 * - The commands of a page run in order, and each must exit with 0. `disk.img` and `data/` are sample files, `Data.fs` is a
 *   ZODB database.
 * - Commands that a test cannot run are listed in {@link NOT_RUN} with the reason.
 * - A command in running text (`zblkfs CMD --option`) must exist, with its options.
 */
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { COMMANDS } from '../scripts/command-table.ts'
import { listMounts } from '../mount/daemon/mounts.ts'
import { runProgram, ZBLKFS } from './tools/run-zblkfs.ts'

const ROOT = join(import.meta.dirname, '..')
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter(name => name.endsWith('.md'))
    .map(name => `docs/${name}`),
]

/** Commands that are not run: how they begin, and why. */
const NOT_RUN: readonly (readonly [start: string, reason: string])[] = [
  ['./scripts/demo.sh', 'installs packages and takes minutes; CI runs it'],
  ['./scripts/test.sh', 'runs this test'],
  ['scripts/setup.sh', 'installs packages of the system'],
  ['sudo apt-get install', 'installs a package of the system'],
  ['zblkfs web', 'serves until it is ended; test/scripts/web.test.ts runs it'],
  ['ssh -L', 'needs another machine'],
  ['npm run package:deb', 'takes minutes; test/scripts/debian-package.test.ts runs it'],
  ['npm run docs', 'takes a minute; test/docs-site.test.ts runs it'],
  ['npm run check', 'runs this test'],
  ['npm run format', 'changes the checkout'],
  ['npx vitest run', 'runs other tests'],
  ['zblkfs serve', 'serves until it is ended; test/scripts/serve/serve.test.ts runs it'],
  ['node scripts/bench/fuse.ts', 'measures for minutes'],
]

const TIMEOUT_MS = 240_000

const TID = /\b[0-9a-f]{16}\b/g

interface Command {
  readonly text: string
  /** Undefined in a `sh` block. */
  readonly output: readonly string[] | undefined
}

interface Outcome {
  readonly output: string
  readonly status: number
}

const textOf = (page: string): string => readFileSync(join(ROOT, page), 'utf8')

/** Why a command is not run; undefined if it is. */
const reasonNotToRun = ({ text }: Command): string | undefined =>
  NOT_RUN.find(([start]) => text.startsWith(start))?.[1]

/** The commands of a page, in order. */
function commandsOf(page: string): readonly Command[] {
  return [...textOf(page).matchAll(/^```(sh|console)\n(.*?)^```/gms)].flatMap(([, kind, body = '']) =>
    kind === 'sh' ? shellCommands(body) : consoleCommands(body),
  )
}

const shellCommands = (body: string): Command[] =>
  body
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter(line => line.trim() !== '' && !line.startsWith('#'))
    .map(text => ({ text, output: undefined }))

function consoleCommands(body: string): Command[] {
  const parts = `\n${body}`.split(/^\$ /m).slice(1)
  return parts.map(part => {
    const [text = '', ...output] = part.trimEnd().split('\n')
    return { text, output: output.filter(line => line !== '') }
  })
}

/** Runs a command in the directory in which the previous one ended. */
function run(text: string, home: string): Promise<Outcome> {
  const env = {
    HOME: home,
    LANG: 'C.UTF-8',
    PATH: `${join(home, '.bin')}:${join(ROOT, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
    NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
  }
  const script = `exec 2>&1 </dev/null\ncd "$(cat ~/.cwd)"\n${text}\nstatus=$?; pwd >~/.cwd; exit $status`
  return new Promise(resolve => {
    execFile(
      'bash',
      ['-c', script],
      { cwd: home, env, timeout: TIMEOUT_MS, killSignal: 'SIGKILL' },
      (error, output) => resolve({ output, status: error === null ? 0 : Number(error.code ?? -1) }),
    )
  })
}

/** A home directory with the sample files, removed afterwards with what is mounted in it. */
async function withHome(work: (home: string) => Promise<void>): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), 'zblkfs-docs-'))
  try {
    await mkdir(join(home, '.bin'))
    await writeFile(join(home, '.cwd'), home)
    await symlink(ZBLKFS, join(home, '.bin/zblkfs'))
    await mkdir(join(home, 'data'))
    await writeFile(join(home, 'data/a'), 'alpha\n')
    await writeFile(join(home, 'data/b'), 'beta\n')
    await writeFile(join(home, 'disk.img'), Buffer.alloc(5 << 20, 'disk'))
    await cp(join(ROOT, 'test/fixtures/tiny.fs'), join(home, 'Data.fs'))
    await work(home)
  } finally {
    for (const { mountPoint } of listMounts())
      if (mountPoint.startsWith(`${home}/`)) await runProgram(ZBLKFS, ['umount', mountPoint])
    await rm(home, { recursive: true, force: true })
  }
}

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`)

/** The pattern for the output that a page shows. */
function patternOf(lines: readonly string[]): RegExp {
  const patterns = lines.map(line =>
    line.trim() === '...'
      ? '(?:.*\n)*?'
      : `${line
          .trim()
          .split(/\s+/)
          .map(word => escaped(word).replaceAll(TID, '[0-9a-f]{16}'))
          .join('\\s+')}\\s*\n`,
  )
  return new RegExp(`^\\s*${patterns.join('\\s*')}\\s*$`)
}

describe('the commands of', () => {
  const pages = PAGES.filter(page => commandsOf(page).some(command => reasonNotToRun(command) === undefined))

  test.each(pages)('%s', { timeout: 2 * TIMEOUT_MS }, page =>
    withHome(async home => {
      const tids = new Map<string, string>()
      for (const command of commandsOf(page).filter(command => reasonNotToRun(command) === undefined)) {
        const text = command.text.replaceAll(TID, tid => tids.get(tid) ?? tid)
        const { output, status } = await run(text, home)
        expect(status, `${text}\n${output}`).toBe(0)
        if (command.output === undefined || command.output.length === 0) continue
        expect(output.replaceAll(home, '/home/me'), text).toMatch(patternOf(command.output))
        const shown = command.output.join('\n').match(TID) ?? []
        for (const [i, tid] of (output.match(TID) ?? []).entries()) tids.set(shown[i] ?? '', tid)
      }
    }),
  )

  test('the list of excluded commands', () => {
    const all = PAGES.flatMap(commandsOf).map(({ text }) => text)
    expect(NOT_RUN.filter(([start]) => !all.some(text => text.startsWith(start)))).toEqual([])
  })
})

describe('commands in the text of', () => {
  const help = new Map<string, Promise<string>>()
  const helpOf = async (name: string): Promise<string> => {
    const { stdout, exitCode } = await runProgram(ZBLKFS, [name, '--help'])
    return exitCode === 0 && stdout.startsWith(`Usage: zblkfs ${name} `) ? stdout : ''
  }
  const cachedHelpOf = (name: string): Promise<string> => {
    const found = help.get(name) ?? helpOf(name)
    help.set(name, found)
    return found
  }

  test.each(PAGES)('%s exist', async page => {
    for (const [, name = '', rest = ''] of textOf(page).matchAll(/`zblkfs ([a-z]+)([^`]*)`/g)) {
      const text = await cachedHelpOf(name)
      expect(text, `${page}: zblkfs ${name}`).not.toBe('')
      const own = rest.split(' -- ')[0] ?? ''
      for (const [option] of own.matchAll(/(?<=[\s[(])--[a-z-]+/g))
        expect(text, `${page}: zblkfs ${name} ${option}`).toContain(option)
    }
  })

  test.each(Object.keys(COMMANDS))('the examples of %s --help exist', async name => {
    const text = await cachedHelpOf(name)
    const examples =
      text
        .split('\nExamples:\n')[1]
        ?.split('\n')
        .filter(line => line !== '') ?? []
    expect(examples.length).toBeGreaterThan(0)
    for (const line of examples) {
      expect(line).toMatch(new RegExp(`^  zblkfs ${name}\\b.*  # `))
      const own = (line.split(' -- ')[0] ?? '').replaceAll(/'[^']*'|"[^"]*"|  #.*/g, '')
      for (const [option] of own.matchAll(/(?<=\s)--?[a-z-]+/g))
        expect(text.split('\nExamples:')[0]).toContain(option)
    }
  })
})
