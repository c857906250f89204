/**
 * `zblkfs txn DIR [-m MESSAGE] -- COMMAND...`: everything that happens on the mount while the command runs becomes one
 * transaction, or nothing.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { Command } from 'commander'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { RemoteTransaction } from '../../mount/daemon/transaction-client.ts'
import { startable } from '../arguments.ts'
import { CommandError } from '../failure.ts'
import { ALIVE_TIMEOUT_MS, callMount, findMount } from '../find-mount.ts'
import { warn } from '../say.ts'

const EXIT_NOT_FOUND = 127
const EXIT_SIGNAL = 128
const FORWARDED = ['SIGTERM', 'SIGHUP'] as const

export function txnCommand(): Command {
  return new Command('txn')
    .description(
      'Run a command. All changes on the mount meanwhile become one transaction, or none if it fails.',
    )
    .argument('<dir>', 'the mount, or a path in it')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('-m, --message <text>', 'describe the transaction')
    .action(
      async (directory: string, command: readonly string[], { message }: { readonly message?: string }) => {
        const mount = findMount(directory)
        await callMount(mount, 'status', {}, ALIVE_TIMEOUT_MS)
        const transaction = await RemoteTransaction.begin(await controlPaths(mount.device, ownerOf(mount)))
        const exitCode = await run(command)
        if (exitCode === 0) console.error(`transaction ${await transaction.commit(message)}`)
        else {
          await transaction.rollBack()
          process.exitCode = exitCode
          console.error(`the command failed: nothing has changed in ${mount.mountPoint}`)
        }
      },
    )
}

/** Runs a command to its end; resolves to its exit code, as a shell reports it. */
function run(command: readonly string[]): Promise<number> {
  const [program, ...parameters] = startable(command)
  if (program === undefined) throw new CommandError('there is no command to run')
  return new Promise(resolve => {
    const child = spawn(program, parameters, { stdio: 'inherit' })
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
      warn(`${program} cannot be run: ${error.message}`)
      end(EXIT_NOT_FOUND)
    })
    child.once('exit', (code, signal) =>
      end(code ?? EXIT_SIGNAL + (signal === null ? 0 : constants.signals[signal])),
    )
  })
}
