/** `zblkfs rejoin DIR`: makes a mount writable again that was fenced, because it was cut off while other mounts wrote. */
import { Command } from 'commander'
import { CommandError } from '../failure.ts'
import { ALIVE_TIMEOUT_MS, callMount, findMount } from '../find-mount.ts'
import { say } from '../say.ts'
import { shellWord } from '../shell-word.ts'
import { formatBytes } from '../units.ts'

const REJOIN_TIMEOUT_MS = 120_000

export function rejoinCommand(): Command {
  return new Command('rejoin')
    .description('Make a mount writable again that was cut off from its server while other mounts wrote.')
    .argument('<dir>', 'the mount, or a path in it')
    .option('--discard', 'drop the changes that it could not store')
    .action(async (directory: string, { discard = false }: { readonly discard?: boolean }) => {
      const mount = findMount(directory)
      const { connection, unstoredBytes } = await callMount(mount, 'status', {}, ALIVE_TIMEOUT_MS)
      if (connection?.state !== 'fenced') {
        say(`${mount.mountPoint} can be written: there is nothing to do`)
        return
      }
      if (unstoredBytes > 0 && !discard)
        throw new CommandError(
          `${mount.mountPoint} has ${formatBytes(unstoredBytes)} of changes that it could not store: copy them with 'zblkfs rescue ${shellWord(mount.mountPoint)} TARGET', then repeat this with --discard`,
          { code: 'unstored' },
        )
      const { tid } = await callMount(mount, 'rejoin', {}, REJOIN_TIMEOUT_MS)
      say(`${mount.mountPoint} can be written again, from transaction ${tid} on`)
    })
}
