/**
 * Symbolic links of other users on the path of a command that changes something.
 *
 * Another user can make any name lead to any mount or database by a symbolic link, also between two system calls. So such a link is followed
 * only to mounts and databases of the user that owns the link. Commands that only read follow all links.
 */
import { processOwner } from '../core/process-owner.ts'
import { ownerOf } from '../mount/daemon/mounts.ts'
import type { Location } from '../mount/mount-points/locate.ts'
import { statSync } from '../store/os-files.ts'
import { CommandError } from './failure.ts'
import { shellWord } from './shell-word.ts'

/** What a command does with the place that a path leads to. */
export type Access = 'read' | 'change'

/**
 * Checks the links of a path that leads to `located`. The caller uses `located`, and does not resolve the path again: what is used must be
 * what was checked.
 * @throws CommandError if one is of a user other than root, this one, and the owner of the mount or file.
 */
export function assertLinks(path: string, { path: target, mount, links }: Location): void {
  if (links.length === 0) return
  const owner = mount === undefined ? statSync(target, { throwIfNoEntry: false })?.uid : ownerOf(mount)
  const trusted = new Set([0, processOwner().uid, owner])
  const foreign = links.find(({ uid }) => !trusted.has(uid))
  if (foreign !== undefined)
    throw new CommandError(
      `${path} leads to ${target} by ${foreign.path}, a symbolic link of user ${foreign.uid}: nothing was done; ` +
        `if you mean that, name ${shellWord(target)}`,
    )
}
