/** Runs a command that the user gave, with the terminal. */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { systemCode } from '../store/errors.ts'
import { startable } from '../store/os-command.ts'
import { CommandError } from './failure.ts'
import { warn } from './say.ts'

export const EXIT_NOT_FOUND = 127
export const EXIT_SIGNAL = 128
const FORWARDED = ['SIGTERM', 'SIGHUP'] as const

/**
 * Runs a command to its end; resolves to its exit code, as a shell reports it. Signals to this process reach the command.
 * @param environment variables in addition to those of this process.
 */
export function runCommand(
  command: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<number> {
  const [program, ...parameters] = startable(command)
  if (program === undefined) throw new CommandError('there is no command to run')
  return new Promise(resolve => {
    const child = spawn(program, parameters, { stdio: 'inherit', env: { ...process.env, ...environment } })
    // Ctrl-C reaches the command directly.
    const interrupt = (): void => undefined
    const forward = (signal: NodeJS.Signals): void => void child.kill(signal)
    process.on('SIGINT', interrupt)
    for (const signal of FORWARDED) process.on(signal, forward)
    const end = (exitCode: number): void => {
      process.off('SIGINT', interrupt)
      for (const signal of FORWARDED) process.off(signal, forward)
      resolve(exitCode)
    }
    child.once('error', error => {
      warn(`${program} cannot be run: ${whyNotRun(error)}`)
      end(EXIT_NOT_FOUND)
    })
    child.once('exit', (code, signal) =>
      end(code ?? EXIT_SIGNAL + (signal === null ? 0 : constants.signals[signal])),
    )
  })
}

/** If a directory in PATH cannot be searched, a command that is in none of the others gives EACCES. */
function whyNotRun(error: Error): string {
  const code = systemCode(error)
  if (code === 'ENOENT') return 'there is no such command'
  return code === 'EACCES' ? 'there is no such command, or it cannot be executed' : error.message
}
