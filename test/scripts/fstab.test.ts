/**
 * Lines of /etc/fstab whose database and mount point have odd names. In a mount namespace of its own, where the package's helpers of mount(8)
 * are in /usr/sbin and the line is all of /etc/fstab.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { runProgram, ZBLKFS } from '../tools/run-zblkfs.ts'

const FILES = join(import.meta.dirname, '../../scripts/package/files')

/** fstab(5)'s form of a name, as latin1. */
const escaped = (name: string): string =>
  name.replaceAll(/[ \t\n\\#]/g, char => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`)

/** $1 is the directory of all files. */
const SCRIPT = `
set -eu
cd "$1"
cp -a /usr/sbin sbin
cp "${FILES}/mount.zblkfs" "${FILES}/umount.fuse.zblkfs" sbin/
ln -s mount.zblkfs sbin/mount.fuse.zblkfs
ln -s "${ZBLKFS}" sbin/zblkfs
mount --bind sbin /usr/sbin
mount --bind fstab /etc/fstab
mount -a
grep -c "^[^ ]*$(basename "$1")/" /proc/mounts
for dir in */; do [ -d "$dir/.zblkfs" ] && cp file "$dir/file"; done
# Mounted already: nothing is left to do.
mount -a
for dir in */; do [ ! -d "$dir/.zblkfs" ] || umount "$dir"; done
grep -c "^[^ ]*$(basename "$1")/" /proc/mounts || true
for db in *.zblk; do zblkfs cat "$db" file; done
`

const NAMES: readonly (readonly [string, string, string])[] = [
  ['spaces', 'the files', 'zblkfs'],
  ['a newline and a tab', 'new\nline\tand tab', 'fuse.zblkfs'],
  ['bytes that are not UTF-8', 'dir\xe9 \xff', 'zblkfs'],
  ['what a shell interprets', '\'"$HOME`id` \\040#x', 'fuse.zblkfs'],
]

test.runIf(process.getuid?.() === 0).for(NAMES)(
  'a line with %s mounts, and is unmounted',
  async ([, name, type]) => {
    const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-fstab-'))
    onTestFinished(() => rm(scratch, { recursive: true, force: true }))
    const dir = `${scratch}/${name}`
    const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')
    await mkdir(bytes(dir))
    await writeFile(join(scratch, 'file'), 'kept\n')
    const line = `${escaped(`${dir}.zblk`)} ${escaped(dir)} ${type} noatime,commit_interval=59s,nofail 0 0\n`
    await writeFile(join(scratch, 'fstab'), bytes(line))
    const { stdout, stderr, exitCode } = await runProgram('unshare', [
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      SCRIPT,
      'sh',
      scratch,
    ])
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
    expect(stdout.split('\n').filter(line => /^(\d|kept)$/.test(line))).toEqual(['1', '0', 'kept'])
  },
)
