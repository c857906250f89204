/** `zblkfs sync DIR`: stores everything up to now and prints the transaction. */
import { Command } from 'commander'
import { callMount, findMount } from '../find-mount.ts'

/** A commit of everything that is dirty may wait for a slow disk. */
const SYNC_TIMEOUT_MS = 600_000

export function syncCommand(): Command {
  return new Command('sync')
    .description('Store everything written to a mount so far, and print the transaction id.')
    .argument('<dir>', 'the mount, or a path in it')
    .option('-m, --message <text>', 'describe the transaction')
    .action(async (directory: string, { message }: { readonly message?: string }) => {
      const mount = findMount(directory)
      const parameters = message === undefined ? {} : { message }
      const { tid } = await callMount(mount, 'sync', parameters, SYNC_TIMEOUT_MS)
      console.log(tid)
    })
}
