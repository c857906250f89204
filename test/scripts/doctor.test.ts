/** `zblkfs doctor`: what is there, what is missing, and what to do. */
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sh } from '../programs/program.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'

interface Finding {
  readonly what: string
  readonly isGood: boolean
  readonly found: string
  readonly next: string
}

const findingsIn = (stdout: string): readonly Finding[] => JSON.parse(stdout) as readonly Finding[]

test('it lists the requirements of a mount, and every accessible mount', async () => {
  await withMount({}, async ({ dir, scratch }) => {
    const { stdout } = await runZblkfs('doctor', '--json', scratch)
    const findings = findingsIn(stdout)
    for (const what of ['kernel', '/dev/fuse', 'Node.js', 'open files', `disk of ${scratch}`])
      expect(findings.find(finding => finding.what === what)).toMatchObject({ isGood: true, next: '' })
    expect(findings.find(({ what }) => what.startsWith(`mount ${dir} `))).toMatchObject({ isGood: true })
    expect((await runZblkfs('doctor', scratch)).stdout).toMatch(/^ok {4}kernel: Linux/)
  })
})

test('a failed check is printed with its remedy, and the exit code is 1', async () => {
  await withMount({}, async mount => {
    const { dir, scratch } = mount
    process.kill(mount.pid(), 'SIGKILL')
    const { exitCode, stdout } = await runZblkfs('doctor', join(scratch, 'missing'))
    expect(exitCode).toBe(1)
    expect(stdout).toContain(`FAIL  disk of ${scratch}/missing: cannot be read (ENOENT); check the name`)
    expect(stdout).toMatch(new RegExp(`FAIL {2}mount ${dir} of .*: the daemon is gone; .*umount -l ${dir}`))
    expect(await sh(`ulimit -n 100; ${ZBLKFS} doctor || true`)).toContain(
      'FAIL  open files: at most 100; raise the limit',
    )
  })
})

test.runIf(process.getuid?.() === 0)(
  'a device without permission, and a machine with only the fusermount of libfuse2',
  async () => {
    await withMount({}, async ({ scratch }) => {
      const [fuse, bin] = [join(scratch, 'fuse'), join(scratch, 'bin')]
      await writeFile(fuse, '')
      await mkdir(bin)
      await writeFile(join(bin, 'fusermount'), '#!/bin/sh\necho version: 2.9.9\n', { mode: 0o755 })
      await chmod(scratch, 0o755)
      await chmod(fuse, 0o600)
      const asUser = `setpriv --reuid 65534 --regid 65534 --clear-groups env PATH=${bin} ${process.execPath} ${join(ZBLKFS, '../main.ts')}`
      const stdout = await sh(
        `unshare -m sh -c 'mount --bind ${fuse} /dev/fuse; ${asUser} doctor /tmp' || true`,
      )
      expect(stdout).toContain('FAIL  /dev/fuse: may not be opened by this user')
      expect(stdout).toContain('FAIL  fusermount3: missing; install it')
    })
  },
)
