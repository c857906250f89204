/** The programs that `npm run bench:programs` runs in each place, and their targets relative to the host or bindfs. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from '../programs.ts'
import { pgbench, PGBENCH_CLIENTS } from './pgbench.ts'

/** Debian's packages of Python modules are for this one. */
const PYTHON = '/usr/bin/python3'
const STORAGE = fileURLToPath(new URL('storage.py', import.meta.url))
const LOOSE_BYTES = 1000
const FILE_BYTES = 20_000
const DIRECTORIES = 100
const QEMU_DEPTH = 8
/** Distance of consecutive requests: past the end they start over. */
const QEMU_STEP_BYTES = 1_052_672

export interface ProgramWorkload {
  readonly name: string
  readonly unit: 's' | '/s'
  /** Programs or Python modules that it needs, as Debian names their packages. */
  readonly packages: string
  /** The place that zblkfs is compared with. */
  readonly beside: 'host' | 'bindfs'
  /** The target: the maximum ratio of times, or the minimum ratio of rates. */
  readonly wanted: number
  /** Makes what all places use, in a directory of the host. */
  readonly prepare?: (shared: string, scale: number) => Promise<void>
  /** Resolves to seconds or to a rate. `directory` is empty, on the place. */
  readonly run: (directory: string, shared: string, scale: number) => Promise<number>
}

export const PROGRAM_WORKLOADS: readonly ProgramWorkload[] = [
  {
    name: 'git clone, 14,000 loose objects',
    unit: 's',
    packages: 'git',
    beside: 'bindfs',
    wanted: 2,
    prepare: async (shared, scale) => {
      await makeRepository(join(shared, 'loose'), Math.ceil(14_000 * scale), LOOSE_BYTES)
    },
    run: async (directory, shared) =>
      await seconds(
        async () =>
          await git(
            'clone',
            '-q',
            '--no-hardlinks',
            '--no-checkout',
            join(shared, 'loose'),
            join(directory, 'c'),
          ),
      ),
  },
  {
    name: 'git clone, 5,000 files, 100 MB',
    unit: 's',
    packages: 'git',
    beside: 'host',
    wanted: 4,
    prepare: async (shared, scale) => {
      await makeRepository(join(shared, 'packed'), Math.ceil(5000 * scale), FILE_BYTES)
      await git('-C', join(shared, 'packed'), 'repack', '-q', '-a', '-d')
    },
    run: async (directory, shared) =>
      await seconds(
        async () => await git('clone', '-q', `file://${join(shared, 'packed')}`, join(directory, 'c')),
      ),
  },
  {
    name: `PostgreSQL, pgbench -c${PGBENCH_CLIENTS}, 60 s`,
    unit: '/s',
    packages: 'postgresql-15 postgresql-contrib',
    beside: 'host',
    wanted: 0.6,
    run: async (directory, _shared, scale) => await pgbench(directory, Math.ceil(60 * scale)),
  },
  {
    name: 'LMDB, 40 transactions of 500 puts',
    unit: 's',
    packages: 'python3-lmdb',
    beside: 'host',
    wanted: 2,
    run: async (directory, _shared, scale) => await storage('lmdb', directory, 40 * scale),
  },
  {
    name: 'Berkeley DB, 300 transactions',
    unit: 's',
    packages: 'python3-bsddb3',
    beside: 'host',
    wanted: 2,
    run: async (directory, _shared, scale) => await storage('bdb', directory, 300 * scale),
  },
  {
    name: `qemu-img bench, direct writes of 4 KiB, depth ${QEMU_DEPTH}`,
    unit: '/s',
    packages: 'qemu-utils',
    beside: 'host',
    wanted: 0.5,
    run: async (directory, _shared, scale) => await qemuBench(directory, 20_000 * scale, ['-w']),
  },
  {
    name: `qemu-img bench, direct reads of 4 KiB, depth ${QEMU_DEPTH}`,
    unit: '/s',
    packages: 'qemu-utils',
    beside: 'host',
    wanted: 0.5,
    run: async (directory, _shared, scale) => await qemuBench(directory, 50_000 * scale, []),
  },
  {
    name: 'h5py, 65,536 strided writes of 4 bytes',
    unit: 's',
    packages: 'python3-h5py',
    beside: 'host',
    wanted: 1.5,
    run: async (directory, _shared, scale) => await storage('h5py', directory, 65_536 * scale),
  },
]

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await work()
  return (performance.now() - startMs) / 1000
}

const git = async (...parameters: readonly string[]): Promise<string> =>
  await run(
    'git',
    '-c',
    'gc.auto=0',
    '-c',
    'safe.directory=*',
    '-c',
    'protocol.file.allow=always',
    ...parameters,
  )

/** A repository with one commit of `count` files, each a loose object. */
async function makeRepository(directory: string, count: number, bytes: number): Promise<void> {
  await git('init', '-q', directory)
  for (let index = 0; index < count; index++) {
    const part = join(directory, `d${index % DIRECTORIES}`)
    if (index < DIRECTORIES) mkdirSync(part)
    writeFileSync(join(part, `f${index}`), randomBytes(bytes))
  }
  await git('-C', directory, 'add', '.')
  const author = ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost']
  await git('-C', directory, ...author, 'commit', '-q', '-m', 'files')
}

async function storage(kind: string, directory: string, count: number): Promise<number> {
  return Number(await run(PYTHON, STORAGE, kind, directory, String(Math.ceil(count))))
}

/** Requests a second over an image of 256 MiB that has its data. */
async function qemuBench(directory: string, count: number, flags: readonly string[]): Promise<number> {
  const image = join(directory, 'image')
  await run('dd', 'if=/dev/urandom', `of=${image}`, 'bs=1M', 'count=256', 'conv=fsync', 'status=none')
  const sizes = {
    '-f': 'raw',
    '-t': 'none',
    '-s': 4096,
    '-S': QEMU_STEP_BYTES,
    '-d': QEMU_DEPTH,
    '-c': Math.ceil(count),
  }
  const parameters = Object.entries(sizes).flatMap(([flag, value]) => [flag, String(value)])
  const output = await run('qemu-img', 'bench', '-n', ...parameters, ...flags, image)
  return Math.ceil(count) / Number(/completed in ([\d.]+) seconds/.exec(output)?.[1])
}
