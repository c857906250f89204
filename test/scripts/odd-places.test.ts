/** Commands in odd places and on odd paths: each says at once what is wrong. */
import { randomBytes } from 'node:crypto'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { open } from '../../index.ts'
import { sh } from '../programs/program.ts'
import { withMount } from '../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'

test('umount works with a low limit of descriptors', async () => {
  await withMount({}, async ({ dir }) => {
    await writeFile(join(dir, 'a'), 'x')
    expect(await sh(`ulimit -n 40; ${ZBLKFS} umount ${dir}`)).toContain('is unmounted, all is stored')
  })
})

test('a limit of open files that is too low for a mount, or for Node, is reported', async () => {
  await withMount({}, async mount => {
    const { db, dir } = mount
    await mount.unmount()
    const limited = async (files: number, command: string): Promise<string> =>
      await sh(`ulimit -n ${files}; ${ZBLKFS} ${command} 2>&1 && echo succeeded || true`)
    expect(await limited(100, `mount ${db} ${dir}`)).toMatch(
      /needs 128 open files, and at most 100 .*ulimit -n/,
    )
    expect(await limited(20, 'status')).toMatch(/at most 20 files may be open, too few for Node: .*ulimit -n/)
    expect(await limited(128, `mount ${db} ${dir}`)).toMatch(/succeeded/)
    await writeFile(join(dir, 'a'), 'x')
    expect(await limited(128, `status; ${ZBLKFS} umount ${dir}`)).toMatch(/is unmounted, all is stored/)
    await mount.remount()
  })
})

test('a working directory without a path is reported by each command, without a stack', async () => {
  await withMount({}, async ({ scratch }) => {
    for (const command of ['ls .', 'mount a.zblk m', 'export a.zblk b.fs', 'copy a b']) {
      const said = await sh(
        `mkdir ${scratch}/gone; cd ${scratch}/gone; rmdir ../gone; ${ZBLKFS} ${command} 2>&1 || true`,
      )
      expect([command, said]).toEqual([
        command,
        expect.stringMatching(/^zblkfs: the working directory has no path .*$/m),
      ])
      expect(said).not.toMatch(/^\s+at /m)
    }
  })
})

test('a database name too long for its side files is refused, and no file is left behind', async () => {
  await withMount({}, async mount => {
    const { scratch, dir } = mount
    await sh(`mkdir ${scratch}/names`)
    await mount.unmount()
    for (const length of [248, 256]) {
      const { exitCode, stderr } = await runZblkfs('mount', `${scratch}/names/${'n'.repeat(length)}`, dir)
      expect({ exitCode, says: stderr.includes(`its name has ${length} bytes`) }).toEqual({
        exitCode: 1,
        says: true,
      })
    }
    expect(await sh(`ls ${scratch}/names`)).toBe('')
    expect((await runZblkfs('mount', `${scratch}/names/${'n'.repeat(247)}`, dir)).stderr).toBe('')
    await writeFile(join(dir, 'a'), 'x')
    expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
    await mount.remount()
  })
})

test('a pack of a database that lies in a mount states what it freed', async () => {
  await withMount({}, async ({ dir }) => {
    const db = join(dir, 'inner.zblk')
    const database = await open(db, { create: true })
    for (let i = 0; i < 2; i++) {
      await database.files.writeFile('/file', randomBytes(8 << 20))
      await database.sync()
    }
    await database.close()
    const { stdout, exitCode } = await runZblkfs('pack', '--keep', '0', db)
    expect({ stdout, exitCode }).toEqual({
      stdout: expect.stringMatching(/: 8\.\d+ MiB freed, /),
      exitCode: 0,
    })
  })
})

test('arguments in usage errors are escaped', async () => {
  const odd = String.raw`"$(printf 'a\377\033[31m')"`
  for (const command of [`sync a b ${odd}`, `web ${odd} b`, `--bad${odd}`, `log --since ${odd} --${odd}`]) {
    const said = await sh(`${ZBLKFS} ${command} 2>&1 || true`)
    expect([command, said]).toEqual([command, expect.stringContaining(String.raw`a\xff\x1b[31m`)])
  }
})

test('a state directory that cannot be created does not prevent a mount', async () => {
  await withMount({}, async mount => {
    const { db, dir } = mount
    await mount.unmount()
    const mounted = await runProgram('env', ['XDG_STATE_HOME=/proc/x', ZBLKFS, 'mount', db, dir], 20_000)
    expect(mounted).toMatchObject({ exitCode: 0 })
    await mount.remount()
  })
})

test.runIf(process.getuid?.() === 0)(
  'a mount hidden by another filesystem is reported with that filesystem',
  async () => {
    await withMount({}, async ({ dir, db }) => {
      await sh(`mount -t tmpfs -o size=1m none ${dir}`)
      try {
        for (const command of ['sync', 'umount'])
          expect((await runZblkfs(command, dir)).stderr).toContain(
            `${dir} is hidden: none (tmpfs) is mounted over the mount of ${db}`,
          )
      } finally {
        await sh(`umount ${dir}`)
      }
      expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    })
  },
)

test('fsck reports a missing log once, and its objects on request', async () => {
  await withMount({}, async mount => {
    const { db, dir } = mount
    await writeFile(join(dir, 'a'), Buffer.alloc(3_000_000, 1))
    await writeFile(join(dir, 'b'), Buffer.alloc(3_000_000, 2))
    await mount.unmount()
    await rename(`${db}-log`, `${db}-away`)
    const once = await runZblkfs('fsck', db)
    expect(once.exitCode).toBe(4)
    expect(once.stderr.trim().split('\n')).toHaveLength(1)
    expect(once.stderr).toContain(`${db} has lost its log: put ${db}-log`)
    expect((await runZblkfs('fsck', '--data', db)).stdout).toContain('/b bytes [0, 2097152)')
    await rename(`${db}-away`, `${db}-log`)
    expect((await runZblkfs('fsck', '--data', db)).exitCode).toBe(0)
  })
})

test('an output pipe that closes early is not an error', async () => {
  await withMount({}, async ({ dir }) => {
    await sh(`for i in $(seq 3000); do echo > ${dir}/a-rather-long-name-for-a-file-$i; done`)
    expect(
      await sh(
        `set +o pipefail; ${ZBLKFS} ls ${dir} 2>&1 | head -1; ${ZBLKFS} ls ${dir} 2>&1 >/dev/full | head -2`,
      ),
    ).not.toMatch(/at .*node:/)
  })
})
