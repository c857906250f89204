/** A host's filesystem that runs full under a mount: what was synced stays, reads go on, and so does the mount. */
import { mkdir, readFile, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { sh } from './program.ts'

const DISK_MIB = 320
const FILLER_MIB = 160
const SYNCED_MIB = 8

test.skipIf(process.getuid?.() !== 0)(
  'on a full disk writers see ENOSPC, what was synced stays, and all goes on when there is room again',
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
