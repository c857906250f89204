/**
 * A new database, mounted for a test by the real command in a process of its own.
 *
 *     await withMount({ driver: 'kernel' }, async ({ dir, remount }) => {
 *       await writeFile(join(dir, 'a'), 'hello')
 *       await remount()
 *       expect(await readFile(join(dir, 'a'), 'utf8')).toBe('hello')
 *     })
 *
 * Whatever the body does, the mount is unmounted lazily, its daemon killed, and the directory removed.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { isRunning } from '../../mount/daemon/is-running.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { runProgram, runZblkfs } from './run-zblkfs.ts'

const STATUS_TIMEOUT_MS = 10_000
const POLL_MS = 10

/** How a test's database is mounted. */
export interface TestMountOptions {
  /** Absent: $ZBLKFS_TEST_DRIVER, else what the command chooses. */
  readonly driver?: 'auto' | 'kernel' | 'fuse-native'
  /** The database; absent: a new file. */
  readonly db?: string
  /** Values of -o, as `cache_size=16M`. */
  readonly options?: readonly string[]
}

/** The argument of a test's body. */
export interface TestMount {
  /** The mount point. */
  readonly dir: string
  /** The database's path, or URL. */
  readonly db: string
  /** A directory on the host for other files of the test; removed with the rest. */
  readonly scratch: string
  /** The daemon's process id. */
  pid(): number
  /** Unmounts as `zblkfs umount` does, where it is mounted, and mounts again, with other options if given. */
  remount(options?: readonly string[]): Promise<void>
  /** Unmounts as `zblkfs umount` does; resolves when the daemon is gone. */
  unmount(): Promise<void>
  /** Kills the daemon (SIGKILL) and removes the dead mount, as after a crash of the process. */
  kill(): Promise<void>
}

/** Mounts a new database, calls `body`, and cleans up; resolves to the result of the body. */
export async function withMount<T>(
  { driver, db, options = [] }: TestMountOptions,
  body: (mount: TestMount) => Promise<T>,
): Promise<T> {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-test-'))
  const dir = join(scratch, 'mnt')
  await mkdir(dir)
  const mount = new MountedDatabase(
    scratch,
    dir,
    driver ?? process.env['ZBLKFS_TEST_DRIVER'] ?? 'auto',
    options,
    db,
  )
  try {
    await mount.remount()
    return await body(mount)
  } finally {
    await mount.kill()
    await rm(scratch, { recursive: true, force: true })
  }
}

class MountedDatabase implements TestMount {
  readonly dir: string
  readonly db: string
  readonly scratch: string
  readonly #driver: string
  readonly #options: readonly string[]
  #pid = 0

  constructor(
    scratch: string,
    dir: string,
    driver: string,
    options: readonly string[],
    db: string | undefined,
  ) {
    this.scratch = scratch
    this.dir = dir
    this.db = db ?? join(scratch, 'data.zblk')
    this.#driver = driver
    this.#options = options
  }

  pid(): number {
    return this.#pid
  }

  async remount(options: readonly string[] = this.#options): Promise<void> {
    if (mountedAt(this.dir) !== undefined) await this.unmount()
    const list = [`driver=${this.#driver}`, ...options].flatMap(option => ['-o', option])
    const { exitCode, stderr } = await runZblkfs('mount', this.db, this.dir, ...list)
    if (exitCode !== 0) throw new Error(`zblkfs mount: exit code ${exitCode}: ${stderr}`)
    const mount = mountedAt(this.dir)
    if (mount === undefined) throw new Error(`${this.dir} is not mounted`)
    const paths = await controlPaths(mount.device, ownerOf(mount))
    this.#pid = (await callDaemon(paths, 'status', {}, STATUS_TIMEOUT_MS)).pid
  }

  async unmount(): Promise<void> {
    const { exitCode, stderr } = await runZblkfs('umount', this.dir)
    if (exitCode !== 0) throw new Error(`zblkfs umount: exit code ${exitCode}: ${stderr}`)
    // Where the disk is busy the daemon may end later than the command waits for it.
    while (isRunning(this.#pid)) await sleep(POLL_MS)
    this.#pid = 0
  }

  async kill(): Promise<void> {
    if (this.#pid !== 0) {
      if (isRunning(this.#pid)) process.kill(this.#pid, 'SIGKILL')
      while (isRunning(this.#pid)) await sleep(POLL_MS)
      this.#pid = 0
    }
    while (mountedAt(this.dir) !== undefined) {
      const { exitCode, stderr } = await runProgram('umount', ['-l', this.dir])
      if (exitCode !== 0) throw new Error(`umount -l ${this.dir}: ${stderr}`)
    }
  }
}
