/**
 * Programs that the benchmarks run. They run asynchronously, so that an interruption ends them
 * at once and everything is unmounted.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const TIMEOUT_MS = 600_000
const OUTPUT_BYTES_MAX = 64 << 20
const SHORT_TIMEOUT_MS = 30_000

const execute = promisify(execFile)
const interruption = new AbortController()

/** Aborted once the benchmark was interrupted (SIGINT, SIGTERM, SIGHUP) after `endOnSignals`. */
export const { signal: interrupted } = interruption

/** Makes signals end the running programs; `run` rejects, and the caller's `finally` cleans up. */
export function endOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => interruption.abort(new Error('interrupted')))
}

/** Runs a program; resolves to its output. @throws Error if it fails, takes too long or is interrupted. */
export async function run(program: string, ...parameters: readonly string[]): Promise<string> {
  interrupted.throwIfAborted()
  try {
    const { stdout } = await execute(program, parameters, {
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
      maxBuffer: OUTPUT_BYTES_MAX,
      signal: interrupted,
    })
    return stdout
  } catch (error) {
    interrupted.throwIfAborted()
    throw error
  }
}

/** Runs a short program that an interruption must not end: one that mounts or unmounts. @throws Error if it fails. */
export async function runThrough(program: string, ...parameters: readonly string[]): Promise<string> {
  const { stdout } = await execute(program, parameters, { encoding: 'utf8', timeout: SHORT_TIMEOUT_MS })
  return stdout
}

const WORKER = fileURLToPath(new URL('worker.ts', import.meta.url))

/** Runs a task of worker.ts in a separate process; resolves to its duration in seconds and its count. */
export async function work(
  task: string,
  ...parameters: readonly (string | number)[]
): Promise<{ readonly seconds: number; readonly count: number }> {
  const output = await run(process.execPath, WORKER, task, ...parameters.map(String))
  return JSON.parse(output) as { seconds: number; count: number }
}

/** Copies with dd in units of 1 MiB; resolves to MB/s, including the program's start. */
export async function dd(bytes: number, ...parameters: readonly string[]): Promise<number> {
  const start = performance.now()
  await run('dd', 'bs=1M', 'status=none', ...parameters)
  return bytes / 1e3 / (performance.now() - start)
}

/**
 * Drops a file's pages from the page cache (posix_fadvise DONTNEED). For a file on a mount these are the
 * mount's pages: the caches of its server, and the pages of the disk below, stay.
 */
export async function dropPages(file: string): Promise<void> {
  await run('dd', `if=${file}`, 'iflag=nocache', 'count=0', 'status=none')
}

/** The digest of a file, 64 hex digits. */
export const sha256 = async (file: string): Promise<string> => (await run('sha256sum', file)).slice(0, 64)
