/** Running other people's programs on a filesystem under test, and comparing what they left there. */
import { spawn, spawnSync } from 'node:child_process'

const TIMEOUT_MS = 240_000

/** Programs that only root has in its PATH are wanted too. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`

/** Whether a program is installed. */
export const has = (program: string): boolean =>
  spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program], { env: { PATH } }).status === 0

/** How a command is run. */
export interface CommandOptions {
  readonly cwd?: string
  readonly timeoutMs?: number
  /** Standard input. */
  readonly input?: string
  /** Run it as another user (from root). */
  readonly user?: string
  readonly env?: Readonly<Record<string, string>>
}

/**
 * Runs a command of bash and resolves to its standard output, trimmed.
 * Rejects with what it wrote where it fails. One that hangs in the filesystem is reported and left behind, as it
 * cannot be waited for.
 */
export function sh(command: string, options: CommandOptions = {}): Promise<string> {
  const { cwd = '/', timeoutMs = TIMEOUT_MS, input, user, env } = options
  const bash = ['bash', '-euo', 'pipefail', '-c', command]
  const [program = '', ...args] =
    user === undefined ? bash : ['setpriv', '--reuid', user, '--regid', user, '--init-groups', ...bash]
  const child = spawn(program, args, { cwd, env: { ...process.env, PATH, LC_ALL: 'C', ...env } })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
  child.stdin.on('error', () => undefined).end(input)
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      child.stdout.destroy()
      child.stderr.destroy()
      child.unref()
      reject(new Error(`${command}\nhung: it did not end within ${timeoutMs} ms\n${stdout}\n${stderr}`))
    }, timeoutMs)
    child.on('error', reject)
    child.on('close', code => {
      clearTimeout(timer)
      if (code === 0) resolve(stdout.trim())
      else reject(new Error(`${command}\nended with ${code}\n${stdout.slice(-4000)}\n${stderr.slice(-4000)}`))
    })
  })
}

/** What of a tree is compared. */
export interface TreeOptions {
  /** Leave out times. */
  readonly times?: boolean
  /** Leave out what lies below these names. */
  readonly without?: readonly string[]
}

/** A tree as text: every name with type, mode, owner, size, links, mtime to the nanosecond, target, and a checksum. */
export async function describeTree(dir: string, options: TreeOptions = {}): Promise<string> {
  const pruned = (options.without ?? []).map(name => `-name ${name} -prune -o`).join(' ')
  const time = options.times === false ? '' : ' %T@'
  const size = `-type f -printf '%P|%y|%m|%U:%G|%n|%s${time}\\n'`
  const others = `-not -type f -printf '%P|%y|%m|%U:%G|%l${time}\\n'`
  const names = await sh(`find . -mindepth 1 ${pruned} \\( ${size} -o ${others} \\) | sort`, { cwd: dir })
  const sums = await sh(`find . ${pruned} -type f -print0 | sort -z | xargs -0r sha256sum`, { cwd: dir })
  return `${names}\n${sums}`
}
