/** Which place a typed path means: links, bind mounts, moments in the path, databases in mounts. */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isRunning } from '../../mount/daemon/is-running.ts'
import { withMount } from '../tools/mounted.ts'
import { runProgram, runZblkfs } from '../tools/run-zblkfs.ts'

const isRoot = process.getuid?.() === 0

async function zblkfs(...parameters: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runZblkfs(...parameters)
  expect(stderr).toBe('')
  expect(exitCode).toBe(0)
  return stdout.trim()
}

async function refused(...parameters: readonly string[]): Promise<string> {
  const { exitCode, stderr } = await runZblkfs(...parameters)
  expect(exitCode).not.toBe(0)
  expect(stderr).not.toMatch(/^\s+at /m)
  return stderr
}

describe('a path', () => {
  test('through a symbolic link to the mount leads to the same file', async () => {
    await withMount({}, async ({ dir, scratch }) => {
      await mkdir(join(dir, 'd'))
      await writeFile(join(dir, 'd/f'), 'old')
      const tid = await zblkfs('sync', dir)
      await writeFile(join(dir, 'd/f'), 'new')
      await zblkfs('sync', dir)
      await symlink(dir, join(scratch, 'link'))
      await symlink('d', join(dir, 'inside'))
      const link = join(scratch, 'link')
      expect(await zblkfs('cat', `${link}/d/f`, '--at', tid)).toBe('old')
      expect(await zblkfs('cat', `${link}/./d/../inside/f`, '--at', tid)).toBe('old')
      await zblkfs('restore', `${link}/d/f`, '--at', tid)
      expect(await readFile(join(dir, 'd/f'), 'utf8')).toBe('old')
      await zblkfs('clone', `${link}/d/f`, `${link}/copy`)
      expect(await readFile(join(dir, 'copy'), 'utf8')).toBe('old')
    })
  })

  test('into a moment includes the moment', async () => {
    await withMount({}, async ({ dir }) => {
      await mkdir(join(dir, 'd'))
      await writeFile(join(dir, 'd/f'), 'old')
      const tid = await zblkfs('sync', dir)
      await writeFile(join(dir, 'd/f'), 'new')
      expect(await zblkfs('cat', join(dir, `@${tid}/d/f`))).toBe('old')
      await zblkfs('clone', join(dir, `@${tid}/d`), join(dir, 'copy'))
      expect(await readFile(join(dir, 'copy/f'), 'utf8')).toBe('old')
      await zblkfs('restore', join(dir, `@${tid}/d/f`))
      expect(await readFile(join(dir, 'd/f'), 'utf8')).toBe('old')
      expect(await refused('clone', join(dir, 'd'), join(dir, `@${tid}/x`))).toContain('is in the past')
    })
  })

  test('on another mount is refused, with its name', async () => {
    await withMount({}, async one => {
      await withMount({}, async other => {
        await writeFile(join(one.dir, 'f'), 'content')
        const tid = await zblkfs('sync', one.dir)
        for (const parameters of [
          ['restore', join(one.dir, 'f'), '--at', tid, '--to', join(other.dir, 'z')],
          ['clone', join(one.dir, 'f'), join(other.dir, 'z')],
        ]) {
          const message = await refused(...parameters)
          expect(message).toContain(one.db)
          expect(message).toContain(other.db)
        }
      })
    })
  })

  test.runIf(isRoot)('in a bind mount of a subdirectory means the file there', async () => {
    await withMount({}, async ({ dir, scratch }) => {
      await mkdir(join(dir, 'd'))
      await writeFile(join(dir, 'd/f'), 'in d, old')
      await writeFile(join(dir, 'f'), 'in the root')
      const tid = await zblkfs('sync', dir)
      await writeFile(join(dir, 'd/f'), 'in d, new')
      const bound = join(scratch, 'bound')
      await mkdir(bound)
      await runProgram('mount', ['--bind', join(dir, 'd'), bound])
      try {
        await zblkfs('restore', join(bound, 'f'), '--at', tid)
        expect(await readFile(join(dir, 'd/f'), 'utf8')).toBe('in d, old')
        expect(await readFile(join(dir, 'f'), 'utf8')).toBe('in the root')
        expect(await zblkfs('umount', bound)).toContain('stays mounted')
        expect(await readFile(join(dir, 'f'), 'utf8')).toBe('in the root')
      } finally {
        await runProgram('umount', ['-l', bound])
      }
    })
  })
})

test.skipIf(!isRoot)('a bind mount that is left of a mount is unmounted, and ends the daemon', async () => {
  await withMount({}, async mount => {
    const { dir, scratch } = mount
    const bound = join(scratch, 'bound')
    await mkdir(join(dir, 'd'))
    await mkdir(bound)
    for (const source of [join(dir, 'd'), dir]) {
      await runProgram('mount', ['--bind', source, bound])
      const pid = mount.pid()
      expect(await zblkfs('umount', dir)).toContain(`process ${pid} ends when ${bound} is unmounted too`)
      expect(await zblkfs('status')).toContain(`${bound}\n`)
      await writeFile(join(bound, 'f'), source)
      expect(await zblkfs('umount', bound)).toMatch(
        /is unmounted, all is stored \(transaction [0-9a-f]{16}\)$/,
      )
      expect(isRunning(pid)).toBe(false)
      await mount.remount()
      expect(await readFile(join(source, 'f'), 'utf8')).toBe(source)
    }
  })
})

test('umount of a directory in a mount unmounts nothing', async () => {
  await withMount({}, async ({ dir }) => {
    await mkdir(join(dir, 'd'))
    expect(await refused('umount', join(dir, 'd'))).toContain(`is a directory in the mount ${dir}`)
    expect(await zblkfs('sync', dir)).toMatch(/^[0-9a-f]{16}$/)
  })
})

test('a database in a mount is opened itself', async () => {
  await withMount({}, async outer => {
    await withMount({}, async inner => {
      await writeFile(join(inner.dir, 'f'), 'in the inner database')
      await inner.unmount()
      const copied = join(outer.dir, 'inner.db')
      await runProgram('cp', ['-r', inner.db, copied])
      await runProgram('cp', ['-r', `${inner.db}-log`, `${copied}-log`])
      expect(await zblkfs('cat', copied, 'f')).toBe('in the inner database')
      expect(await zblkfs('fsck', copied)).toContain(`${copied} is clean`)
      const { database } = JSON.parse(await zblkfs('df', '--json', copied)) as { readonly database: string }
      expect(database).toBe(copied)
      expect(await zblkfs('pack', '--keep', '0', copied)).toContain(copied)
    })
  })
})

test('existing files and tags are overwritten with --force only', async () => {
  await withMount({}, async ({ dir }) => {
    await writeFile(join(dir, 'a'), 'a')
    await writeFile(join(dir, 'b'), 'b')
    const tid = await zblkfs('sync', dir)
    const restore = ['restore', join(dir, 'a'), '--at', tid, '--to', join(dir, 'b')] as const
    expect(await refused(...restore)).toContain('--force')
    expect(await readFile(join(dir, 'b'), 'utf8')).toBe('b')
    await zblkfs(...restore, '--force')
    expect(await readFile(join(dir, 'b'), 'utf8')).toBe('a')

    await zblkfs('tag', 'v1', tid, '--db', dir)
    expect(await refused('tag', 'v1', '--db', dir)).toContain('--force')
    expect(await zblkfs('tag', 'v1', tid, '--db', dir)).toBe(`v1 is ${tid}`)
    expect(await zblkfs('tag', 'v1', '--force', '--db', dir)).not.toContain(tid)
  })
})

test('the message of a sync is never lost', async () => {
  await withMount({}, async ({ dir }) => {
    await writeFile(join(dir, 'a'), 'a')
    const stored = await zblkfs('sync', dir)
    const tid = await zblkfs('sync', '-m', 'before the upgrade', dir)
    expect(tid > stored).toBe(true)
    expect(await zblkfs('log', '-n', '1', dir)).toContain('before the upgrade')
  })
})
