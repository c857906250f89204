/**
 * Where workloads run: zblkfs in each block format, what it is measured against, and peers where they are installed
 * (scripts/bench/setup.sh). Everything lies on the disk of the benchmark's directory.
 */
import { execFileSync, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { mountedAt } from '../../mount/kernel/mount-table.ts'
import { run } from './measure.ts'

export const PLACES = ['auto', 'zblk1', 'no-op', 'host', 'bindfs', 'fuse2fs'] as const
export type PlaceName = (typeof PLACES)[number]

export interface Place {
  readonly name: PlaceName
  readonly directory: string
  /** The file that is written and read; of the no-op filesystem these are two. */
  readonly written: string
  readonly read: string
  /** Whether the kernel keeps pages of it apart from those of the disk. */
  readonly isMount: boolean
  /** The serving process, where it is zblkfs. */
  readonly pid?: number
  close(): Promise<void>
}

const STATUS_TIMEOUT_MS = 10_000
const ZBLKFS = fileURLToPath(new URL('../zblkfs', import.meta.url))
const NO_OP = fileURLToPath(new URL('fuse.ts', import.meta.url))

const isInstalled = (program: string): boolean => spawnSync('which', [program]).status === 0

/** Whether a place can be had on this machine. */
export const isAvailable = (name: PlaceName): boolean =>
  name === 'bindfs' || name === 'fuse2fs' ? isInstalled(name) : true

/** Opens a place in a directory of its own below `root`; `mib` of files will lie in it. */
export async function openPlace(name: PlaceName, root: string, mib: number): Promise<Place> {
  const directory = join(root, name)
  mkdirSync(directory)
  const file = join(directory, 'file')
  const place = { name, directory, written: file, read: file, isMount: true }
  if (name === 'host') return { ...place, isMount: false, close: () => Promise.resolve() }
  if (name === 'no-op') return { ...place, ...(await serveNothing(directory)) }
  const unmount = (): Promise<void> => {
    run('umount', directory)
    return Promise.resolve()
  }
  if (name === 'bindfs') {
    const source = join(root, 'bindfs-source')
    mkdirSync(source)
    run('bindfs', source, directory)
    return { ...place, close: unmount }
  }
  if (name === 'fuse2fs') {
    const image = join(root, 'image')
    run('truncate', '-s', `${mib * 2 + 256}M`, image)
    run('mke2fs', '-q', '-F', '-t', 'ext4', image)
    run('fuse2fs', image, directory, '-o', 'rw,fakeroot')
    return { ...place, close: unmount }
  }
  const pid = await mountZblkfs(join(root, `${name}.db`), directory, name)
  const close = (): Promise<void> => {
    run(ZBLKFS, 'umount', directory)
    return Promise.resolve()
  }
  return { ...place, pid, close }
}

/** Mounts; resolves to the daemon's pid. */
export async function mountZblkfs(database: string, directory: string, format: string): Promise<number> {
  run(ZBLKFS, 'mount', database, directory, '--zblk-format', format)
  const mount = mountedAt(directory)
  if (mount === undefined) throw new Error(`${directory} is not mounted`)
  return (await callDaemon(await controlPaths(mount.device, ownerOf(mount)), 'status', {}, STATUS_TIMEOUT_MS))
    .pid
}

export const unmountZblkfs = (directory: string): string =>
  execFileSync(ZBLKFS, ['umount', directory], { encoding: 'utf8' })

async function serveNothing(directory: string): Promise<Pick<Place, 'written' | 'read' | 'close'>> {
  const server = fork(NO_OP, ['--serve', 'kernel', directory])
  const exit = once(server, 'exit')
  const [message] = (await Promise.race([once(server, 'message'), exit])) as [unknown]
  if (message !== 'mounted') throw new Error('the no-op filesystem did not start')
  return {
    written: join(directory, 'sink'),
    read: join(directory, 'big'),
    close: async () => {
      server.kill('SIGTERM')
      await exit
    },
  }
}
