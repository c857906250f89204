/** A mount whose database is removed or moved says so, or serves on. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mountedAt } from '../../../mount/mount-points/mount-table.ts'
import { withMount } from '../../tools/mounted.ts'
import { runProgram, runZblkfs } from '../../tools/run-zblkfs.ts'

test('where the database was removed, fsync, sync and umount fail and the mount stays', async () => {
  await withMount({}, async ({ dir, db }) => {
    await writeFile(join(dir, 'a'), 'stored')
    expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    await rm(db)
    await writeFile(join(dir, 'b'), 'x'.repeat(100_000))
    const synced = await runProgram('sync', [join(dir, 'b')])
    expect(synced).toMatchObject({ exitCode: 1 })
    expect(synced.stderr).toMatch(/Input\/output error/)
    for (const command of ['sync', 'umount']) {
      const { exitCode, stderr } = await runZblkfs(command, dir)
      expect(exitCode).toBe(1)
      expect(stderr).toContain(`${db} was removed while the database was open`)
    }
    expect(mountedAt(dir)).toBeDefined()
    expect(await readFile(join(dir, 'a'), 'utf8')).toBe('stored')
  })
})

test('where the directory of the database was moved, the mount stores in its new place', async () => {
  await withMount({}, async mount => {
    const { dir, scratch } = mount
    await mount.unmount()
    const [home, moved] = [join(scratch, 'home'), join(scratch, 'moved')]
    await mkdir(home)
    const own = join(home, 'x.zblk')
    expect((await runZblkfs('mount', own, dir)).exitCode).toBe(0)
    await rename(home, moved)
    await writeFile(join(dir, 'a'), 'x'.repeat(1_000_000))
    expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0 })
    const { exitCode, stdout } = await runZblkfs('cat', join(moved, 'x.zblk'), 'a')
    expect({ exitCode, length: stdout.length }).toEqual({ exitCode: 0, length: 1_000_000 })
  })
})
