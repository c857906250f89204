/**
 * `zblkfs txn DIR [-m MESSAGE] -- COMMAND...`: everything that happens on the mount while the command runs becomes one
 * transaction, or nothing.
 */
import { Command } from 'commander'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { RemoteTransaction } from '../../mount/daemon/transaction-client.ts'
import { CodedError } from '../../store/errors.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import { EXIT_CONFLICT, UsageError } from '../failure.ts'
import { ALIVE_TIMEOUT_MS, callMount, findMount } from '../find-mount.ts'
import { runCommand } from '../run-command.ts'

export function txnCommand(): Command {
  return new Command('txn')
    .description(
      'Run a command. All changes on the mount meanwhile become one transaction, or none if it fails.',
    )
    .argument('<dir>', 'the mount, or a path in it')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('-m, --message <text>', 'describe the transaction')
    .option(
      '--retry <n>',
      'run the command up to N more times if another mount requested the lease meanwhile',
      '0',
    )
    .addHelpText(
      'after',
      `\nOn a database that several mounts write, a transaction that keeps them waiting for more than 10 s is rolled back, and the` +
        `\nexit code is ${EXIT_CONFLICT}.`,
    )
    .action(async (directory: string, command: readonly string[], { message, retry }: TransactionOptions) => {
      if (!/^\d+$/.test(retry)) throw new UsageError(`--retry ${retry} is not a number`)
      const mount = findMount(directory)
      await callMount(mount, 'status', {}, ALIVE_TIMEOUT_MS)
      for (let left = Number(retry); ; left--) {
        try {
          await runOnce(mount, command, message)
          return
        } catch (error) {
          if (!(error instanceof CodedError) || error.code !== 'conflict') throw error
          if (left > 0) {
            console.error(`${error.message}; once more`)
            continue
          }
          console.error(`error: ${error.message}`)
          process.exitCode = EXIT_CONFLICT
          return
        }
      }
    })
}

interface TransactionOptions {
  readonly message?: string
  readonly retry: string
}

/** @throws CodedError 'conflict' if the transaction was rolled back for another mount. */
async function runOnce(
  mount: MountedDirectory,
  command: readonly string[],
  message: string | undefined,
): Promise<void> {
  const transaction = await RemoteTransaction.begin(await controlPaths(mount.device, ownerOf(mount)))
  const exitCode = await runCommand(command)
  if (exitCode === 0) {
    console.error(`transaction ${await transaction.commit(message)}`)
    return
  }
  // If it was rolled back for another mount, that is the likely cause of the failure: a conflict.
  await transaction.rollBack()
  process.exitCode = exitCode
  console.error(`the command failed: nothing has changed in ${mount.mountPoint}`)
}
