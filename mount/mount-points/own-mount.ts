/**
 * A mount that this process serves, as a thing to be unmounted. It is known by its device number: after a lazy unmount
 * it is gone from its place while its users still have it, and what is mounted there then is another mount.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MountError } from '../drivers/driver.ts'
import { mountedAt } from './mount-table.ts'
import { unmount } from './unmount.ts'

/** Maximum time for a mount that was just unmounted elsewhere to end. */
const END_TIMEOUT_MS = 2000

export class OwnMount {
  readonly #mountPoint: string
  readonly #device: string | undefined
  readonly #done: Promise<void>

  /**
   * @param mountPoint - its real path, where it has just been mounted.
   * @param done - resolves when it is gone for everybody.
   */
  constructor(mountPoint: string, done: Promise<void>) {
    this.#mountPoint = mountPoint
    this.#device = mountedAt(mountPoint)?.device
    this.#done = done
  }

  /**
   * Unmounts; resolves when it is gone for everybody.
   * @throws MountError where it is in use or may not be unmounted, and, unless `lazy`, where it is out of the tree and
   *   its users keep it.
   */
  async unmount(lazy: boolean): Promise<void> {
    const isInPlace = this.#device !== undefined && mountedAt(this.#mountPoint)?.device === this.#device
    if (isInPlace) await unmount(this.#mountPoint, lazy)
    else if (!lazy) await this.#assertEnds()
    await this.#done
  }

  async #assertEnds(): Promise<void> {
    const ended = this.#done.then(() => true)
    if (await Promise.race([ended, sleep(END_TIMEOUT_MS, false, { ref: false })])) return
    throw new MountError(
      `${this.#mountPoint} was taken out of the tree, but is still in use: end what uses it`,
    )
  }
}
