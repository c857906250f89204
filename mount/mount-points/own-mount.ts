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
    if (!(await this.#detach(lazy)) && !lazy) await this.#assertEnds()
    await this.#done
  }

  /** Resolves to whether this call has detached it: another one, or umount(8), may have been faster. @throws MountError */
  async #detach(lazy: boolean): Promise<boolean> {
    const mount = this.#find()
    if (mount === undefined) return false
    try {
      await unmount(mount, lazy ? 'lazy' : 'whole')
      return true
    } catch (error) {
      if (this.#find() !== undefined) throw error
      return false
    }
  }

  /** undefined if it is detached. */
  #find(): MountedDirectory | undefined {
    return mountTable().find(({ id, device }) => id === this.#made?.id && device === this.#made.device)
  }

  async #assertEnds(): Promise<void> {
    const ended = this.#done.then(() => true)
    if (await Promise.race([ended, sleep(END_TIMEOUT_MS, false, { ref: false })])) return
    throw new MountError(
      `${this.#mountPoint} was detached, but is still in use: end the processes that use it`,
    )
  }
}
