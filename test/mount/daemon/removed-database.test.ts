/** A mount whose database is removed or moved says so, or serves on. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { controlPaths } from '../../../mount/daemon/control-path.ts'
import { mountedAt } from '../../../mount/mount-points/mount-table.ts'
import { withMount } from '../../tools/mounted.ts'
import { runProgram, runZblkfs } from '../../tools/run-zblkfs.ts'

test('if the database was removed, fsync, sync and umount fail and the mount stays', async () => {
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

test('if the directory of the database was moved, the mount stores in its new place', async () => {
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

test('rescue saves a removed database from the open descriptors, including unstored changes', async () => {
  await withMount({}, async ({ dir, db, scratch }) => {
    const saved = join(scratch, 'saved.zblk')
    await writeFile(join(dir, 'stored'), 'x'.repeat(3_000_000))
    expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    expect((await runZblkfs('rescue', dir, saved)).stderr).toMatch(
      /was not removed: nothing has to be rescued/,
    )
    for (const path of [db, `${db}-wal`, `${db}-log`]) await rm(path, { recursive: true })
    await writeFile(join(dir, 'pending'), 'y'.repeat(100_000))
    const { exitCode, stderr } = await runZblkfs('umount', dir)
    expect(exitCode).toBe(1)
    expect(stderr).toMatch(/stays mounted: .* was removed while the database was open/)
    expect(stderr).toMatch(/zblkfs rescue .* TARGET[^]*umount --discard[^]*the whole database/)
    expect((await runZblkfs('status')).stdout).toMatch(/KiB of changes are not stored: .* was removed/)

    expect(await runZblkfs('rescue', dir, saved)).toMatchObject({ exitCode: 0, stderr: '' })
    expect(await runZblkfs('fsck', '--data', saved)).toMatchObject({ exitCode: 0 })
    expect((await runZblkfs('cat', saved, 'stored')).stdout).toBe('x'.repeat(3_000_000))
    expect((await runZblkfs('cat', saved, 'pending')).stdout).toBe('y'.repeat(100_000))
    expect((await runZblkfs('rescue', dir, saved)).stderr).toContain(`${saved} exists`)
    const discarded = await runZblkfs('umount', '--discard', dir)
    expect(discarded).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/(is|are) lost: .* was removed/),
    })
    expect(mountedAt(dir)).toBeUndefined()
    // Nothing was made under the old name, not even a reserve of space.
    expect([db, `${db}-log`].filter(existsSync)).toEqual([])
  })
})

test('status lists a daemon with a detached mount, and rescue finds its removed database by process id', async () => {
  await withMount({}, async mount => {
    const { dir, db, scratch } = mount
    await writeFile(join(dir, 'a'), 'stored')
    expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    await rm(db)
    const device = mountedAt(dir)?.device ?? ''
    await runProgram('umount', ['-l', dir])
    const pid = String(mount.pid())
    // The kernel may give the next mount the same device number. A mount namespace that another test has made keeps this one for as long.
    // Without any socket of the device controlPaths rejects.
    const ofDevice = async (): Promise<readonly string[]> =>
      (await controlPaths(device, process.getuid?.() ?? 0).catch(() => [])).filter(path =>
        path.includes(`.${pid}.`),
      )
    await expect.poll(ofDevice, { timeout: 100_000 }).toEqual([])
    expect((await runZblkfs('status')).stdout).toMatch(
      new RegExp(`${dir}\\n.*\\n.* unmounted, [^]* process ${pid},`),
    )
    const saved = join(scratch, 'saved.zblk')
    expect(await runZblkfs('rescue', pid, saved)).toMatchObject({ exitCode: 0, stderr: '' })
    expect((await runZblkfs('cat', saved, 'a')).stdout).toBe('stored')
  })
})

test('rescue does not wait for a stopped daemon, and says that its changes are missing', async () => {
  await withMount({}, async mount => {
    const { dir, db, scratch } = mount
    await writeFile(join(dir, 'a'), 'stored')
    expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    await rm(db)
    process.kill(mount.pid(), 'SIGSTOP')
    try {
      const saved = join(scratch, 'saved.zblk')
      const { exitCode, stdout, stderr } = await runZblkfs('rescue', dir, saved)
      expect(exitCode).toBe(1)
      expect(stdout).toContain(`is saved as ${saved}`)
      expect(stderr).toMatch(
        /changed since its last transaction is not in it: .* has not answered within 5 s/,
      )
      expect((await runZblkfs('cat', saved, 'a')).stdout).toBe('stored')
    } finally {
      process.kill(mount.pid(), 'SIGCONT')
    }
  })
})

test('umount detects the removed database even without changes since', async () => {
  await withMount({}, async ({ dir, db }) => {
    await writeFile(join(dir, 'a'), 'stored')
    expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    await rm(db)
    expect(await runZblkfs('umount', dir)).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('was removed'),
    })
    expect(mountedAt(dir)).toBeDefined()
  })
})

test('a renamed database stays mounted under its new name, with the files beside it', async () => {
  await withMount({}, async mount => {
    const { dir, db, scratch } = mount
    const [renamed, moved] = [`${db}.new`, join(scratch, 'moved.zblk')]
    const write = (name: string): Promise<void> => writeFile(join(dir, name), name.repeat(100_000))
    await write('a')
    expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    await mkdir(`${db}-branches`)
    await rename(db, renamed)
    await write('b')
    expect(await runZblkfs('sync', dir)).toMatchObject({ exitCode: 0, stderr: '' })
    for (const suffix of ['', '-wal', '-shm', '-log', '-lock', '-branches'])
      expect([suffix, existsSync(db + suffix), existsSync(renamed + suffix)]).toEqual([suffix, false, true])
    expect((await runZblkfs('log', renamed)).stdout).toContain('A  b')
    expect((await runZblkfs('status')).stdout).toContain(`database     ${renamed}\n`)
    expect(await runZblkfs('pack', '--keep', '0', renamed)).toMatchObject({ exitCode: 0, stderr: '' })

    // All files, to another directory, and nothing is changed until the sync.
    for (const suffix of ['', '-wal', '-shm', '-log', '-lock']) await rename(renamed + suffix, moved + suffix)
    expect(await runZblkfs('sync', dir)).toMatchObject({ exitCode: 0, stderr: '' })
    await write('c')
    expect((await runProgram('sync', [join(dir, 'c')])).exitCode).toBe(0)
    await rename(moved, db)
    await write('d')
    expect((await runProgram('sync', [join(dir, 'd')])).exitCode).toBe(0)
    await mount.kill()
    await mount.remount()
    for (const name of ['a', 'b', 'c', 'd'])
      expect((await readFile(join(dir, name), 'utf8')) === name.repeat(100_000)).toBe(true)
    await mount.unmount()
    expect(await runZblkfs('fsck', '--data', db)).toMatchObject({ exitCode: 0 })
  })
})

test('a database that took the name of a renamed one keeps its own files', async () => {
  await withMount({}, async mount => {
    const { dir, db, scratch } = mount
    const [renamed, other] = [`${db}.new`, join(scratch, 'other')]
    await writeFile(join(dir, 'a'), 'x'.repeat(1_000_000))
    expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    for (const suffix of ['', '-wal', '-shm', '-log', '-lock']) await rename(db + suffix, renamed + suffix)
    await mkdir(other)
    expect(await runZblkfs('mount', db, other)).toMatchObject({ exitCode: 0, stderr: '' })
    try {
      await writeFile(join(other, 'b'), 'y'.repeat(1_000_000))
      expect(await runZblkfs('sync', other)).toMatchObject({ exitCode: 0, stderr: '' })
      expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
      for (const suffix of ['', '-wal', '-shm', '-log', '-lock']) expect(existsSync(db + suffix)).toBe(true)
      expect(await runZblkfs('sync', other)).toMatchObject({ exitCode: 0, stderr: '' })
      expect((await runZblkfs('ls', renamed)).stdout).toContain(' a\n')
    } finally {
      expect(await runZblkfs('umount', other)).toMatchObject({ exitCode: 0, stderr: '' })
    }
    expect((await runZblkfs('ls', db)).stdout).toContain(' b\n')
  })
})

test('nothing is stored in a renamed database if a name beside it is taken, until that is corrected', async () => {
  await withMount({}, async ({ dir, db }) => {
    await writeFile(join(dir, 'a'), 'stored')
    expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
    await writeFile(`${db}.new-wal`, 'of another database')
    await rename(db, `${db}.new`)
    await writeFile(join(dir, 'b'), 'later')
    for (const command of ['sync', 'umount']) {
      const { exitCode, stderr } = await runZblkfs(command, dir)
      expect(exitCode).toBe(1)
      expect(stderr).toContain(
        `${db} was renamed to ${db}.new, and the files beside it cannot follow (${db}.new-wal is another file): rename it back`,
      )
    }
    await rm(`${db}.new-wal`)
    expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0, stderr: '' })
    expect((await runZblkfs('cat', `${db}.new`, 'b')).stdout).toBe('later')
  })
})
