/** Runs fsx in a process of its own, since one that hangs in a filesystem cannot be ended. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Harness } from './fsx-file.ts'
import type { Answer, Ask } from './fsx.ts'

/** What became of a run. */
export interface FsxRun {
  /** The exit code; null if it hung or crashed. */
  readonly code: number | null
  readonly output: string
}

/** Runs `operations` operations in `dir`; the harness, where given, remounts and remembers for it. */
export function runFsx(
  dir: string,
  options: { readonly operations: number; readonly seed?: number; readonly timeoutMs: number },
  harness?: Harness,
): Promise<FsxRun> {
  const args = [dir, '--operations', `${options.operations}`]
  if (options.seed !== undefined) args.push('--seed', `${options.seed}`)
  if (harness !== undefined) args.push('--asks', Object.keys(harness).join(','))
  const child = fork(fileURLToPath(new URL('fsx.ts', import.meta.url)), args, {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (data: Buffer) => (output += data.toString()))
  child.on('message', (ask: Ask) => {
    void answer(ask, harness).then(reply => child.connected && child.send(reply))
  })
  return new Promise(resolve => {
    const end = (code: number | null): void => {
      clearTimeout(timer)
      resolve({ code, output })
    }
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      output += `hung: it did not end within ${options.timeoutMs} ms`
      child.stdout?.destroy()
      child.stderr?.destroy()
      if (child.connected) child.disconnect()
      child.unref()
      end(null)
    }, options.timeoutMs)
    child.on('close', end)
  })
}

async function answer(ask: Ask, harness: Harness | undefined): Promise<Answer> {
  try {
    if (ask.ask === 'remount') await harness?.remount?.()
    else return { path: (await harness?.moment?.(ask.path)) ?? ask.path }
    return {}
  } catch (error) {
    return { error: String(error) }
  }
}
