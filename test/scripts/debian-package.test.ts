/** The Debian package in a system that has nothing else: installed, used through mount(8), and removed. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { runProgram } from '../tools/run-zblkfs.ts'

const BUILD = fileURLToPath(new URL('../../scripts/package/deb.ts', import.meta.url))
const TIMEOUT_MS = 600_000

/** Findings about the test rather than the package: how it is packed, and its publisher. */
const LINTIAN_SUPPRESSED =
  'uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball,bogus-mail-host,' +
  'bogus-mail-host-in-debian-changelog,root-in-contact'

/** The commands that run in the new system. */
const USE = `
  mkdir -p /files /data
  zblkfs --version
  mount -t zblkfs /data/a.zblk /files -o defaults,nofail,_netdev,x-systemd.automount
  echo kept > /files/file
  findmnt -n -o FSTYPE /files
  umount /files
  mount -t fuse.zblkfs /data/a.zblk /files
  cat /files/file
  umount /files
  zblkfs fsck /data/a.zblk > /dev/null
  test -s /usr/share/man/man1/zblkfs-mount.1.gz
`

test(
  'the Debian package passes lintian, installs, mounts, and removes all its files',
  async () => {
    const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-debian-'))
    const run = async (command: string): Promise<string> => {
      const { exitCode, stdout, stderr } = await runProgram(
        'bash',
        ['-ec', `cd '${scratch}'; ${command}`],
        TIMEOUT_MS,
      )
      expect(`${exitCode}: ${stderr}${exitCode === 0 ? '' : stdout}`).toMatch(/^0: /)
      return stdout
    }
    try {
      await run(`'${process.execPath}' '${BUILD}' --compress none --to .`)
      expect(await run(`lintian --allow-root --suppress-tags ${LINTIAN_SUPPRESSED} zblkfs_*.deb`)).toBe('')
      await run(
        `debootstrap --variant=minbase --include=fuse3,mount "$(. /etc/os-release; echo $VERSION_CODENAME)" root > log 2>&1 || { tail log >&2; exit 1; }`,
      )
      // In a namespace of its own: what it mounts goes with it.
      const inside = `mount --rbind /dev root/dev; mount -t proc proc root/proc
        cp zblkfs_*.deb root/tmp; chroot root sh -ec 'find / -xdev | sort > /tmp/before; dpkg -i /tmp/zblkfs_*.deb > /dev/null; ${USE}
          dpkg --purge zblkfs > /dev/null; rm -rf /files /data /root/.local /root/.cache; find / -xdev | sort > /tmp/after
          grep -v -e ^/var/lib/dpkg -e ^/tmp -e ^/run/ -e ^/var/log /tmp/before > /tmp/b
          grep -v -e ^/var/lib/dpkg -e ^/tmp -e ^/run/ -e ^/var/log /tmp/after > /tmp/a; diff /tmp/b /tmp/a'`
      const output = await run(
        `unshare --mount --propagation private bash -ec "$(cat <<'SCRIPT'\n${inside}\nSCRIPT\n)"`,
      )
      expect(output).toMatch(/^\d+\.\d+\.\d+\n.*fuse\.zblkfs\n.*kept\n/s)
    } finally {
      await rm(scratch, { recursive: true, force: true })
    }
  },
  TIMEOUT_MS,
)
