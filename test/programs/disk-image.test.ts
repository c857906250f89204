/** Disk images in files of a mount: an ext4 in a loop device, and qcow2. */
import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { withPlace } from './place.ts'
import { describeTree, has, sh } from './program.ts'

const root = process.getuid?.() === 0
const loopDevices = root && has('losetup') && spawnSync('losetup', ['-f']).status === 0

describe.skipIf(!has('mkfs.ext4'))('an ext4 in a file', () => {
  it('is created and passes its check', async () => {
    await withPlace(async ({ dir, remount }) => {
      await sh(`truncate -s 256M image && mkfs.ext4 -q -F image && e2fsck -fn image`, { cwd: dir })
      await remount()
      await sh('e2fsck -fn image', { cwd: dir })
    })
  })

  it.skipIf(!loopDevices)('is mounted through a loop device, filled, and found clean', async () => {
    await withPlace(async ({ dir, scratch, remount }) => {
      await sh(`mkdir inner tree && cp -a /etc tree/`, { cwd: scratch })
      await sh(`truncate -s 256M image && mkfs.ext4 -q -F image`, { cwd: dir })
      const mounted = async (action: () => Promise<void>): Promise<void> => {
        await sh(`mount -o loop ${dir}/image ${scratch}/inner`)
        try {
          await action()
        } finally {
          await sh(`umount ${scratch}/inner`)
        }
      }
      await mounted(async () => {
        await sh(`cp -a ${scratch}/tree/. ${scratch}/inner/ && sync -f ${scratch}/inner`)
      })
      await remount()
      await sh(`e2fsck -fn image`, { cwd: dir })
      await mounted(async () => {
        expect(await describeTree(`${scratch}/inner`, { without: ['lost+found'] })).toBe(
          await describeTree(`${scratch}/tree`),
        )
        await sh(`rm -r ${scratch}/inner/etc && fstrim ${scratch}/inner`)
      })
      await sh(`e2fsck -fn image`, { cwd: dir })
    })
  })
})

describe.skipIf(!has('qemu-img'))('qemu-img', () => {
  it('creates, converts, checks and compares images', async () => {
    await withPlace(async ({ dir, scratch, remount }) => {
      await sh(
        `truncate -s 128M raw && head -c 20M /dev/urandom | dd of=raw seek=50 bs=1M conv=notrunc iflag=fullblock status=none`,
        { cwd: scratch },
      )
      await sh(`qemu-img create -q -f qcow2 empty.qcow2 1T && qemu-img check -q empty.qcow2`, { cwd: dir })
      await sh(
        `qemu-img convert -f raw -O qcow2 ${scratch}/raw image.qcow2 && qemu-img check -q image.qcow2`,
        { cwd: dir },
      )
      await sh(`qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 child.qcow2`, { cwd: dir })
      await sh(`qemu-io -f qcow2 -c 'write -P 7 60M 5M' -c 'write -z 10M 3M' child.qcow2`, { cwd: dir })
      await sh(
        `dd if=<(head -c 5M /dev/zero | tr '\\0' '\\7') of=raw bs=1M seek=60 conv=notrunc iflag=fullblock`,
        {
          cwd: scratch,
        },
      )
      await remount()
      await sh(
        `qemu-img check -q child.qcow2 && qemu-img commit -q child.qcow2 && qemu-img check -q image.qcow2`,
        { cwd: dir },
      )
      await sh(`qemu-img compare -q -f qcow2 -F raw image.qcow2 ${scratch}/raw`, { cwd: dir })
      await sh(`qemu-img convert -f qcow2 -O raw image.qcow2 back && cmp back ${scratch}/raw`, { cwd: dir })
      expect(Number(await sh(`stat -c %b back`, { cwd: dir }))).toBeLessThan(100_000)
    })
  })
})
