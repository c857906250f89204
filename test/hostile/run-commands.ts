/**
 * Every command that takes a database, run on one, in one child process: starting a process for each would take longer than
 * they do. The child writes the outcome of each as a line of JSON to its descriptor 3.
 */
import { spawn } from 'node:child_process'
import { writeSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

export interface Outcome {
  readonly command: string
  readonly exitCode: number
  readonly seconds: number
  readonly stderr: string
}

/** What no command may print, whatever it is given. */
export const STACK_TRACE = /^ {4}at |RangeError|TypeError|ReferenceError|SQLITE_|\[object |undefined/m

const TIMEOUT_MS = 120_000

/** Command lines that use all that there is in a small database; those that change it come last. */
export const commandsOn = (path: string): readonly (readonly string[])[] => [
  ['ls', path],
  ['ls', path, '/a'],
  ['ls', path, '/a/b', '--at', '1s'],
  ['cat', path, '/a/renamed'],
  ['cat', path, '/odd', '--at', 'now'],
  ['log', path],
  ['log', path, '/a', '-n', '2'],
  ['log', path, '--json'],
  ['diff', '0000000000000001', 'now', '--db', path],
  ['diff', 'now', '1s', '--db', path, '--json'],
  ['df', path],
  ['df', '--files', path],
  ['tag', '-l', '--db', path],
  ['history', path],
  ['fsck', path, '--data', '--json'],
  ['export', path, `${path}.fs`],
  ['import', `${path}.fs`, `${path}.imported`],
  ['tag', 'name', '--db', path],
  ['clone', '/a', '/copy', '--db', path],
  ['restore', '/a', '--at', '1s', '--to', '/restored', '--db', path],
  ['undo', '0000000000000001', '--db', path],
  ['pack', path, '--keep', '0'],
  ['fsck', '--repair', path],
  ['status'],
  ['umount', path],
  ['sync', path],
  ['txn', path, '--', 'true'],
  ['mount', path, `${path}.no-directory`],
]

/** Runs command lines one after another; `peakMiB` is the most memory that was resident. */
export async function runCommands(
  commands: readonly (readonly string[])[],
): Promise<{ readonly outcomes: readonly Outcome[]; readonly peakMiB: number }> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
    stdio: ['pipe', 'ignore', 'inherit', 'pipe'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  })
  child.stdin?.end(JSON.stringify(commands))
  const lines = (await text(child.stdio[3] as Readable)).split('\n').filter(line => line !== '')
  const last = JSON.parse(lines.pop() ?? '{}') as { peakMiB?: number }
  const outcomes = lines.map(line => JSON.parse(line) as Outcome)
  if (last.peakMiB === undefined) throw new Error(`'${commands[outcomes.length]?.join(' ')}' did not end`)
  return { outcomes, peakMiB: last.peakMiB }
}

async function runAll(): Promise<void> {
  const { run } = await import('../../scripts/run.ts')
  const commands = JSON.parse(await text(process.stdin)) as string[][]
  for (const command of commands) {
    const errors: string[] = []
    console.error = (...parts: readonly unknown[]) =>
      errors.push(parts.map(part => (part instanceof Error ? String(part.stack) : String(part))).join(' '))
    process.exitCode = 0
    const start = performance.now()
    const exitCode = await run(['node', 'zblkfs', ...command])
    const seconds = (performance.now() - start) / 1000
    writeSync(
      3,
      `${JSON.stringify({ command: command.join(' '), exitCode, seconds, stderr: errors.join('\n') })}\n`,
    )
  }
  writeSync(3, JSON.stringify({ peakMiB: process.resourceUsage().maxRSS / 1024 }))
  process.exit(0)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await runAll()
