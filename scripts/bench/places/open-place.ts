/**
 * Opens the places of the benchmark: mounts of zblkfs, their ceilings, and installed
 * peers (scripts/bench/setup.sh). A peer has the best options for one large file.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run, runThrough } from '../programs.ts'
import type { Place, PlaceName } from './place.ts'
import { serve } from './servers.ts'
import { mountZblkfs } from './zblkfs.ts'

const NO_OP = fileURLToPath(new URL('../fuse.ts', import.meta.url))
/** Ratio of a filesystem image's length to the file's. */
const IMAGE_FACTOR = 2
const IMAGE_MORE_MIB = 512

type Opened = Omit<Place, 'name'>

/** Opens a place in a separate directory below `root`, for `mib` of files. @throws Error if it is not available. */
export const openPlace = async (name: PlaceName, root: string, mib: number): Promise<Place> => ({
  name,
  ...(await OPEN[name](join(root, name.replaceAll(' ', '-')), mib)),
})

const OPEN: Readonly<Record<PlaceName, (directory: string, mib: number) => Promise<Opened>>> = {
  auto: async directory => await openZblkfs(directory, []),
  zblk1: async directory => await openZblkfs(directory, ['zblk_format=zblk1']),
  'fuse-native': async directory => await openZblkfs(directory, ['driver=fuse-native']),
  'no-op': async directory => await openNoOp(directory, 'kernel'),
  'no-op native': async directory => await openNoOp(directory, 'fuse-native'),
  host: directory => {
    mkdirSync(directory)
    return Promise.resolve({ ...filesIn(directory), close: () => Promise.resolve() })
  },
  bindfs: async directory => {
    const source = `${directory}-source`
    mkdirSync(directory)
    mkdirSync(source)
    return { ...filesIn(directory), close: await serve(directory, 'bindfs', '-f', source, directory) }
  },
  fuse2fs: async (directory, mib) => {
    const image = `${directory}.image`
    mkdirSync(directory)
    await run('truncate', '-s', `${mib * IMAGE_FACTOR + IMAGE_MORE_MIB}M`, image)
    await run('mke2fs', '-q', '-F', '-t', 'ext4', image)
    return {
      ...filesIn(directory),
      close: await serve(directory, 'fuse2fs', image, directory, '-f', '-o', 'rw,fakeroot'),
    }
  },
  qemu: async (directory, mib) => {
    const image = `${directory}.qcow2`
    await run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'cluster_size=65536', image, `${mib}M`)
    writeFileSync(directory, '')
    const close = await serve(
      directory,
      'qemu-storage-daemon',
      `--blockdev=driver=file,node-name=disk,filename=${image}`,
      '--blockdev=driver=qcow2,node-name=image,file=disk,discard=unmap',
      `--export=type=fuse,id=export,node-name=image,mountpoint=${directory},writable=on`,
    )
    return { ...oneFile(directory), close }
  },
  s3backer: async (directory, mib) => {
    const blocks = `${directory}-blocks`
    mkdirSync(directory)
    mkdirSync(blocks)
    const close = await serve(
      directory,
      's3backer',
      '-f',
      '--test',
      '--quiet',
      // This storage has no eventual consistency.
      '--md5CacheSize=0',
      '--md5CacheTime=0',
      '--minWriteDelay=0',
      '--listBlocks',
      '--blockSize=128k',
      // Its test mode has the latency of a distant server, 100 ms per block, so use many connections.
      '--blockCacheThreads=200',
      '--readAhead=64',
      `--size=${mib}M`,
      // Without it the kernel writes page by page, at 1 MB/s.
      '-obig_writes',
      blocks,
      directory,
    )
    return { ...oneFile(join(directory, 'file')), close }
  },
}

const oneFile = (file: string): { written: string; read: string } => ({ written: file, read: file })

const filesIn = (directory: string): { directory: string; written: string; read: string } => ({
  directory,
  ...oneFile(join(directory, 'file')),
})

async function openZblkfs(directory: string, options: readonly string[]): Promise<Opened> {
  const zblkfs = await mountZblkfs(`${directory}.db`, directory, options)
  const close = async (): Promise<void> => {
    await zblkfs.unmount().catch(async () => await runThrough('umount', '-l', directory))
  }
  return { ...filesIn(directory), zblkfs, close }
}

async function openNoOp(directory: string, driver: string): Promise<Opened> {
  mkdirSync(directory)
  const close = await serve(directory, process.execPath, NO_OP, '--serve', driver, directory)
  return { directory, written: join(directory, 'sink'), read: join(directory, 'big'), close }
}
