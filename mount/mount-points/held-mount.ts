/**
 * A mount held by descriptors, so that what is unmounted is the mount that was looked up, whatever happens to the path.
 *
 * Another user may own a directory on the way to the mount and replace it by a symbolic link, or by another directory,
 * between two system calls. So the path is resolved once, to a descriptor of the directory that contains the mount point. From
 * there the mount's own root is opened, and the kernel says which mount that is. While the root is open its mount
 * number and device number belong to no other mount.
 *
 * Both descriptors are O_PATH: opening them asks nothing of the filesystem, so a stopped or dead daemon cannot block it.
 */
import { constants } from 'node:fs'
import { type FileHandle } from 'node:fs/promises'
import { open, readFile } from '../../store/os-files-async.ts'
import { basename, dirname } from 'node:path'
import { MountError } from '../drivers/driver.ts'
import { systemCode } from '../../store/errors.ts'
import { O_PATH } from '../../store/o-path.ts'
import { type MountedDirectory, mountTable } from './mount-table.ts'

export class HeldMount {
  readonly #parent: FileHandle
  readonly #name: string
  #root: FileHandle | undefined

  private constructor(parent: FileHandle, name: string) {
    this.#parent = parent
    this.#name = name
  }

  /** @throws MountError if its path now leads to another mount, or to none. */
  static async open(mount: MountedDirectory): Promise<HeldMount> {
    const { mountPoint } = mount
    // `.` stands for the root directory itself.
    const name = basename(mountPoint) || '.'
    try {
      const parent = await open(dirname(mountPoint), O_PATH | constants.O_DIRECTORY)
      const held = new HeldMount(parent, name)
      try {
        held.#root = await open(held.path, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW)
        await assertIs(mount, held.#root.fd)
        return held
      } catch (error) {
        await held.close()
        throw error
      }
    } catch (error) {
      if (error instanceof MountError) throw error
      throw new MountError(`${mountPoint} cannot be reached (${systemCode(error) ?? 'unknown'})`, {
        cause: error,
      })
    }
  }

  /** The directory that contains the mount point, as a path for this process and its children. */
  get parentPath(): string {
    return `/proc/${process.pid}/fd/${this.#parent.fd}`
  }

  /** The mount's last name. */
  get name(): string {
    return this.#name
  }

  /** The mount point, in the directory that was opened. */
  get path(): string {
    return `${this.parentPath}/${this.#name}`
  }

  /** The root of the mount; undefined after {@link HeldMount.letRootGo}. */
  get rootPath(): string | undefined {
    return this.#root && `/proc/self/fd/${this.#root.fd}`
  }

  /** Closes the mount's root, which makes the mount busy. */
  async letRootGo(): Promise<void> {
    await this.#root?.close()
    this.#root = undefined
  }

  async close(): Promise<void> {
    await this.letRootGo()
    await this.#parent.close()
  }
}

/** @throws MountError if an open directory is not in this mount. */
async function assertIs(mount: MountedDirectory, fd: number): Promise<void> {
  // Source: proc_pid_fdinfo(5).
  const text = await readFile(`/proc/self/fdinfo/${fd}`, 'utf8')
  const id = Number(/^mnt_id:\s*(\d+)$/m.exec(text)?.[1])
  const found = mountTable().find(each => each.id === id)
  if (found !== undefined && id === mount.id && found.device === mount.device) return
  const what = found?.mountPoint === mount.mountPoint ? `${found.type} mount` : 'directory'
  throw new MountError(`${mount.mountPoint} now leads to another ${what}: nothing was unmounted`, {
    code: 'not-mounted',
    path: mount.mountPoint,
  })
}
