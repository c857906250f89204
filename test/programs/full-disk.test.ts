/** A host's filesystem that runs full under a mount: synced data stays, reads continue, and deletions succeed. */
import { mkdir, readFile, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { sh } from './program.ts'

const DISK_MIB = 320
const FILLER_MIB = 160
const SYNCED_MIB = 8

test.skipIf(process.getuid?.() !== 0)(
  'on a full disk writes fail with ENOSPC, synced data stays, and writes resume when there is space',
  async () => {
    await withMount({}, async ({ scratch }) => {
      const disk = join(scratch, 'disk')
      const dir = join(scratch, 'full')
      await mkdir(disk)
      await mkdir(dir)
      await sh(`mount -t tmpfs -o size=${DISK_MIB}m none ${disk}`)
      try {
        const db = join(disk, 'data.zblk')
        expect((await runZblkfs('mount', db, dir)).stderr).toBe('')
        const random = (mib: number, path: string): string =>
          `head -c ${mib}M /dev/urandom | dd of=${path} bs=1M iflag=fullblock conv=fsync`
        await sh(random(SYNCED_MIB, join(dir, 'synced')))
        const before = await sh(`sha256sum < ${dir}/synced`)
        await sh(`head -c ${FILLER_MIB}M /dev/zero > ${disk}/filler`)

        await expect(sh(random(DISK_MIB, join(dir, 'too-much')))).rejects.toThrow(/No space left on device/)
        expect(await sh(`sha256sum < ${dir}/synced`)).toBe(before)
        expect(await sh(`ls ${dir}`)).toContain('synced')
        expect((await statfs(dir)).bavail).toBeLessThan((DISK_MIB * 2 ** 20) / 4096)

        await rm(join(disk, 'filler'))
        await sh(`rm -f ${dir}/too-much`)
        await sh(random(1, join(dir, 'afterwards')))
        const after = await readFile(join(dir, 'afterwards'))
        expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0 })
        expect(await runZblkfs('fsck', '--data', db)).toMatchObject({ exitCode: 0 })
        expect((await runZblkfs('mount', db, dir)).exitCode).toBe(0)
        expect(await sh(`sha256sum < ${dir}/synced`)).toBe(before)
        expect((await readFile(join(dir, 'afterwards'))).equals(after)).toBe(true)
        expect((await runZblkfs('umount', dir)).stderr).toBe('')
      } finally {
        await sh(`umount -l ${dir} 2>/dev/null || true; umount -l ${disk}`)
      }
    })
  },
)

const SMALL_MIB = 96
/** Blocks that a full disk may show as free: less than a write of dd's. */
const FULL_BLOCKS = 256
/** Room that has to be free again when everything was deleted and packed. */
const LEFT_MIB = 80

/** How a small disk is mounted at a directory. */
const DISKS: Readonly<Record<string, (disk: string) => string>> = {
  tmpfs: disk => `mount -t tmpfs -o size=${SMALL_MIB}m none ${disk}`,
  ext4: disk => mountExt4(disk, SMALL_MIB),
}

function mountExt4(disk: string, mib: number): string {
  return `truncate -s ${mib}M ${disk}.img && mkfs.ext4 -q -m 0 ${disk}.img && mount -o loop ${disk}.img ${disk}`
}

interface SmallDisk {
  readonly disk: string
  readonly db: string
  readonly dir: string
  /** Free room of the disk. */
  readonly freeMib: () => Promise<number>
}

/** A database alone on a small disk, mounted; the disk is taken away afterwards. */
async function onSmallDisk(
  mountDisk: (disk: string) => string,
  body: (on: SmallDisk) => Promise<void>,
  options = 'commit_interval=60s',
): Promise<void> {
  await withMount({}, async ({ scratch }) => {
    const disk = join(scratch, 'disk')
    const dir = join(scratch, 'small')
    const db = join(disk, 'data.zblk')
    await mkdir(disk)
    await mkdir(dir)
    await sh(mountDisk(disk))
    try {
      expect((await runZblkfs('mount', db, dir, '-o', options)).stderr).toBe('')
      const freeMib = async (): Promise<number> => {
        const { bavail, bsize } = await statfs(disk)
        return (bavail * bsize) / 2 ** 20
      }
      await body({ disk, db, dir, freeMib })
    } finally {
      if (mountedAt(dir) !== undefined) await sh(`${KILL} ${db}; umount -l ${dir}`)
      await sh(`umount -l ${disk}`)
    }
  })
}

/** Kills the daemon of the database that is named next. */
const KILL = join(import.meta.dirname, 'kill-daemon.sh')
const FILL = 'i=0; while dd if=/dev/urandom of=$DIR/f$i bs=1M count=8 2>/dev/null; do i=$((i+1)); done'

for (const [name, mountDisk] of Object.entries(DISKS))
  describe.runIf(process.getuid?.() === 0)(`a database alone on a full disk (${name})`, () => {
    test('recovers by deletion of all files: sync, pack and umount succeed at the first attempt', async () => {
      await onSmallDisk(mountDisk, async ({ db, dir, freeMib }) => {
        await sh(FILL.replace('$DIR', dir))
        expect((await statfs(dir)).bavail).toBeLessThan(FULL_BLOCKS)
        await expect(sh(`head -c 1M /dev/urandom > ${dir}/more`)).rejects.toThrow(/No space left/)
        await sh(`rm ${dir}/*`)
        expect((await runZblkfs('sync', dir)).stderr).toBe('')
        expect(await runZblkfs('pack', '--keep', '0', dir)).toMatchObject({ exitCode: 0, stderr: '' })
        expect(await freeMib()).toBeGreaterThan(LEFT_MIB - 8)
        expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
        expect(await runZblkfs('fsck', '--data', db)).toMatchObject({ exitCode: 0 })
      })
    })

    test('changes that do not fit because another program filled the disk are dropped with their removed files', async () => {
      await onSmallDisk(mountDisk, async ({ disk, db, dir, freeMib }) => {
        await sh(`head -c 30M /dev/urandom > ${dir}/big; echo kept > ${dir}/kept`)
        expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
        await sh(`head -c 10M /dev/urandom | dd of=${dir}/big bs=1M iflag=fullblock conv=notrunc`)
        await sh(`head -c 1M /dev/urandom > ${dir}/new; dd if=/dev/zero of=${disk}/ballast bs=64k || true`)
        for (const command of ['sync', 'umount']) {
          const { exitCode, stderr } = await runZblkfs(command, dir)
          expect(exitCode).toBe(1)
          expect(stderr).toContain('no space left')
          if (command === 'umount')
            expect(stderr).toMatch(/pack --keep 0[^]*umount --discard .* twice, gives up .* MiB/)
        }
        expect((await runZblkfs('status')).stdout).toMatch(/MiB of changes are not stored: no space left/)
        await sh(`rm ${dir}/big ${dir}/new`)
        expect(await runZblkfs('pack', '--keep', '0', dir)).toMatchObject({ exitCode: 0, stderr: '' })
        expect(await freeMib()).toBeGreaterThan(25)
        expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
        expect(await runZblkfs('fsck', '--data', db)).toMatchObject({ exitCode: 0 })
        expect((await runZblkfs('cat', db, 'kept')).stdout).toBe('kept\n')
      })
    })

    test('a mount opens the database after its daemon died, and truncating a file frees space', async () => {
      await onSmallDisk(mountDisk, async ({ disk, db, dir, freeMib }) => {
        await sh(FILL.replace('$DIR', dir))
        await sh(`dd if=/dev/zero of=${disk}/ballast bs=1k || true`)
        await sh(`${KILL} ${db}; umount -l ${dir}; dd if=/dev/zero of=${disk}/more bs=1k || true`)
        expect((await runZblkfs('mount', db, dir)).stderr).toBe('')
        await sh(`truncate -s 0 ${dir}/f0 ${dir}/f1 ${dir}/f2`)
        expect(await runZblkfs('pack', '--keep', '0', dir)).toMatchObject({ exitCode: 0, stderr: '' })
        expect(await freeMib()).toBeGreaterThan(20)
        expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
        expect(await runZblkfs('fsck', '--data', db)).toMatchObject({ exitCode: 0 })
      })
    })

    test('thousands of small files are deleted from it', async () => {
      await onSmallDisk(mountDisk, async ({ disk, db, dir, freeMib }) => {
        await sh(`for i in $(seq 3000); do echo {1..200} > ${dir}/s$i; done`)
        expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
        await sh(`dd if=/dev/zero of=${disk}/ballast bs=64k || true`)
        expect((await statfs(dir)).bavail).toBeLessThan(FULL_BLOCKS)
        const before = await freeMib()
        await sh(`find ${dir} -type f -delete`)
        expect(await runZblkfs('pack', '--keep', '0', dir)).toMatchObject({ exitCode: 0, stderr: '' })
        expect(await freeMib()).toBeGreaterThan(before + 1)
        expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
        expect(await runZblkfs('fsck', db)).toMatchObject({ exitCode: 0 })
      })
    })
  })

/** Disks that another program fills, by their size; options of the mount, MiB of the files that are deleted and kept. */
const FILLED_DISKS: readonly (readonly [string, number, string, number, number])[] = [
  ['a disk that is short of space', 1200, 'commit_interval=60s,dirty_size=256M', 30, 40],
  ['a disk of 256 MiB', 256, 'commit_interval=60s', 30, 40],
  ['a disk of 144 MiB', 144, 'commit_interval=60s', 30, 20],
]

test.skipIf(process.getuid?.() !== 0).for(FILLED_DISKS)(
  'changes that were accepted are stored when another program fills %s at once, and so is a deletion after them',
  async ([, diskMib, options, bigMib, keptMib]) => {
    const body = async ({ disk, db, dir, freeMib }: SmallDisk): Promise<void> => {
      await sh(`head -c ${bigMib}M /dev/urandom > ${dir}/big`)
      expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
      const free = await freeMib()
      await sh(`head -c ${keptMib}M /dev/urandom | dd of=${dir}/kept bs=1M iflag=fullblock`)
      const before = await sh(`sha256sum < ${dir}/kept`)
      await sh(
        `fallocate -l $(($(df --output=avail ${disk} | tail -1) - 1024))k ${disk}/most; dd if=/dev/zero of=${disk}/ballast bs=4k || true`,
      )
      expect(await freeMib()).toBeLessThan(1)
      await sh(`rm ${dir}/big`)
      expect(await runZblkfs('sync', dir)).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await runZblkfs('pack', '--keep', '0', dir)).toMatchObject({ exitCode: 0, stderr: '' })
      await sh(`rm ${disk}/most ${disk}/ballast`)
      expect(await freeMib()).toBeGreaterThan(free - 20)
      expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await runZblkfs('fsck', '--data', db)).toMatchObject({ exitCode: 0 })
      expect((await runZblkfs('mount', db, dir)).stderr).toBe('')
      expect(await sh(`sha256sum < ${dir}/kept`)).toBe(before)
    }
    await onSmallDisk(disk => mountExt4(disk, diskMib), body, options)
  },
)

const AMPLE_MIB = 5000

/** What a program writes that takes all of a disk at once. */
const takeAll = (disk: string): string =>
  `fallocate -l $(($(df --output=avail -B1 ${disk} | tail -1) - (64 << 20))) ${disk}/taken
   dd if=/dev/zero of=${disk}/rest bs=64k || true`

test.runIf(process.getuid?.() === 0)(
  'on a disk with ample space that another program fills at once, accepted data and deletions are stored',
  async () => {
    const body = async ({ disk, db, dir }: SmallDisk): Promise<void> => {
      const reserve = `${db}-log/reserve`
      await sh(`head -c 24M /dev/urandom > ${dir}/big`)
      expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
      await sh(`head -c 10M /dev/urandom > ${dir}/accepted; ${takeAll(disk)}`)
      const before = await sh(`sha256sum < ${dir}/accepted`)
      await sh(`rm ${dir}/big`)
      expect(await runZblkfs('sync', dir)).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await runZblkfs('pack', '--keep', '0', dir)).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await runZblkfs('fsck', '--data', db)).toMatchObject({ exitCode: 0 })
      await sh(`rm ${disk}/taken ${disk}/rest`)
      expect((await runZblkfs('mount', db, dir)).stderr).toBe('')
      expect(await sh(`ls ${dir}; sha256sum < ${dir}/accepted`)).toBe(`accepted\n${before}`)
      await expect.poll(async () => (await stat(reserve)).size, { timeout: 10_000 }).toBe(64 << 20)
      expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
      await expect(stat(reserve)).rejects.toThrow(/ENOENT/)
    }
    await onSmallDisk(disk => mountExt4(disk, AMPLE_MIB), body)
  },
)
