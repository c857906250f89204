/**
 * A mount that this process serves, to be unmounted. The kernel's numbers of the mount and of its device identify it: after
 * a lazy unmount it is detached from its directory while its users still have it, and another mount may be there.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MountError } from '../drivers/driver.ts'
import { mountedAt, type MountedDirectory, mountTable } from './mount-table.ts'
import { unmount } from './unmount.ts'

/** Maximum time for a mount that was just unmounted elsewhere to end. */
const END_TIMEOUT_MS = 2000

export class OwnMount {
  readonly #mountPoint: string
  readonly #made: MountedDirectory | undefined
  readonly #done: Promise<void>

  /**
   * @param mountPoint its real path, where it has just been mounted.
   * @param done resolves when it is gone in every namespace.
   */
  constructor(mountPoint: string, done: Promise<void>) {
    this.#mountPoint = mountPoint
    this.#made = mountedAt(mountPoint)
    this.#done = done
  }

  /**
   * Unmounts; resolves when it is gone in every namespace.
   * @throws MountError if it is in use or may not be unmounted, and, unless `lazy`, if it is detached but
   *   still in use.
   */
  async unmount(lazy: boolean): Promise<void> {
    const mount = mountTable().find(({ id, device }) => id === this.#made?.id && device === this.#made.device)
    if (mount !== undefined) await unmount(mount, lazy ? 'lazy' : 'whole')
    else if (!lazy) await this.#assertEnds()
    await this.#done
  }

  async #assertEnds(): Promise<void> {
    const ended = this.#done.then(() => true)
    if (await Promise.race([ended, sleep(END_TIMEOUT_MS, false, { ref: false })])) return
    throw new MountError(
      `${this.#mountPoint} was detached, but is still in use: end the processes that use it`,
    )
  }
}
