/** The mount as the upper directory of overlayfs, as container runtimes use it, compared with a directory of the host. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { has, sh } from '../../../programs/program.ts'
import { withMount } from '../../../tools/mounted.ts'

/** Gives a name to a file that was opened with O_TMPFILE, and leaves another one without. */
const TMPFILE = `
import os, subprocess
fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(fd, b'unnamed\\n')
assert os.fstat(fd).st_nlink == 0
subprocess.check_call(['ln', '-L', f'/proc/{os.getpid()}/fd/{fd}', 'linked'])
other = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(other, b'dropped')
`

const CHANGES = `
echo new > new; echo more >> a; rm dir/b; rm -r dir/sub; mkdir dir/sub; echo x > dir/sub/x
mv other/f1 moved; mv new dir/new; ln dir/new hard; ln -s a sym; rm -r other; mkdir other; chmod 600 a
mv dir/sub/x dir/sub/y; echo again > dir/b; rm dir/b; setfattr -n user.k -v v a
python3 -c "$TMPFILE"
`

const LIST = `
find . -printf '%P %y %m %n %l\\n' | sort
find . -type f -exec cat {} + | sort
getfattr -R -d -m 'trusted.overlay.opaque|user' . | sort
`

test.runIf(process.getuid?.() === 0 && has('setfattr'))(
  'overlayfs accepts the mount as its upper directory, with the same result as on the host',
  async () => {
    await withMount({ driver: 'kernel' }, async ({ dir, scratch }) => {
      const lower = join(scratch, 'lower')
      await sh(`mkdir -p ${lower}/dir/sub ${lower}/other`)
      for (const name of ['a', 'dir/b', 'dir/sub/c', 'other/f1', 'other/f2'])
        await writeFile(join(lower, name), `${name}\n`)
      const left: string[] = []
      for (const upper of [join(scratch, 'host'), dir]) {
        const merged = join(scratch, 'merged')
        for (const path of [upper, join(upper, 'up'), join(upper, 'work'), merged])
          await mkdir(path, { recursive: true })
        await sh(
          `mount -t overlay overlay -o lowerdir=${lower},upperdir=${upper}/up,workdir=${upper}/work ${merged}`,
        )
        try {
          await sh(CHANGES, { cwd: merged, env: { TMPFILE } })
          left.push(await sh(LIST, { cwd: merged }))
        } finally {
          await sh(`umount ${merged}`)
        }
        left.push(await sh(LIST, { cwd: join(upper, 'up') }))
      }
      expect(left[0]).toContain('unnamed')
      expect(left.slice(2)).toEqual(left.slice(0, 2))
    })
  },
)

test('O_TMPFILE: a file without a name gets one by linkat, and is dropped with its last handle if it gets none', async () => {
  await withMount({ driver: 'kernel' }, async mount => {
    const { dir } = mount
    await sh('python3 -c "$TMPFILE"', { cwd: dir, env: { TMPFILE } })
    expect(await sh('ls -A; stat -c "%a %h %s" linked; cat linked', { cwd: dir })).toBe(
      'linked\n640 1 8\nunnamed',
    )
    await mount.remount()
    expect(await sh('ls -A; cat linked', { cwd: dir })).toBe('linked\nunnamed')
    expect(Number(await sh(`stat -f -c '%c - %d' ${dir} | awk '{print $1-$3}'`))).toBeLessThan(4)
  })
})
