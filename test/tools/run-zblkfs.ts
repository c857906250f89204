/** Runs the real command. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** scripts/zblkfs of this checkout. */
export const ZBLKFS = fileURLToPath(new URL('../../scripts/zblkfs', import.meta.url))

const TIMEOUT_MS = 240_000

export interface CommandResult {
  readonly stdout: string
  readonly stderr: string
  /** Undefined if it was killed after the timeout. */
  readonly exitCode: number | undefined
}

/** Runs a program to its end, or for `timeoutMs`. A failure of the program is a result, not a rejection. */
export function runProgram(
  program: string,
  parameters: readonly string[],
  timeoutMs = TIMEOUT_MS,
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    execFile(
      program,
      parameters,
      { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 64 << 20 },
      (error, stdout, stderr) => {
        if (error === null) resolve({ stdout, stderr, exitCode: 0 })
        else if (typeof error.code === 'string') reject(error)
        else resolve({ stdout, stderr, exitCode: error.code ?? undefined })
      },
    )
  })
}

/** Runs `zblkfs PARAMETERS`. */
export const runZblkfs = (...parameters: readonly string[]): Promise<CommandResult> =>
  runProgram(ZBLKFS, parameters)

/** The output of `zblkfs PARAMETERS`. @throws Error if it fails or prints a message. */
export async function zblkfsOutput(...parameters: readonly string[]): Promise<string> {
  const { stdout, stderr, exitCode } = await runZblkfs(...parameters)
  if (exitCode === 0 && stderr === '') return stdout
  throw new Error(`zblkfs ${parameters.join(' ')}: exit code ${exitCode}: ${stderr}`)
}
