/**
 * `zblkfs txn DIR [-m MESSAGE] -- COMMAND...`: everything that happens on the mount while the command runs becomes one
 * transaction, or nothing.
 */
import { Command } from 'commander'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { RemoteTransaction } from '../../mount/daemon/transaction-client.ts'
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
    .action(
      async (directory: string, command: readonly string[], { message }: { readonly message?: string }) => {
        const mount = findMount(directory)
        await callMount(mount, 'status', {}, ALIVE_TIMEOUT_MS)
        const transaction = await RemoteTransaction.begin(await controlPaths(mount.device, ownerOf(mount)))
        const exitCode = await runCommand(command)
        if (exitCode === 0) console.error(`transaction ${await transaction.commit(message)}`)
        else {
          await transaction.rollBack()
          process.exitCode = exitCode
          console.error(`the command failed: nothing has changed in ${mount.mountPoint}`)
        }
      },
    )
}
