import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { interrupted } from '../programs.ts'

const WORKER = fileURLToPath(new URL('../worker.ts', import.meta.url))
const MIB_PER_SECOND = 32

/** Calls `body` while another process writes to a file at a steady rate. @throws Error if the writer failed. */
export async function writeMeanwhile<T>(file: string, body: () => Promise<T>): Promise<T> {
  const writer = spawn(process.execPath, [WORKER, 'writeSteadily', file, String(MIB_PER_SECOND)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    signal: interrupted,
  })
  const exit = once(writer, 'exit')
  exit.catch(() => undefined)
  try {
    await Promise.race([once(writer.stdout, 'data'), exit])
    const result = await body()
    if (writer.exitCode !== null) throw new Error(`the writer of ${file} ended early`)
    return result
  } finally {
    writer.kill('SIGTERM')
    await exit.catch(() => undefined)
  }
}
