/** The bound of one user's open handles. */
import { constants } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { Handles } from '../../../core/file-system/inodes/handles.ts'
import { ROOT_INO, type Fh, name as toName } from '../../../core/file-system/operations.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { TestStore } from '../../tools/test-store.ts'

const USER = 54_321
const MAX = 1 << 16
const user = { uid: USER, gid: USER, pid: 0 }

describe('a user', () => {
  test('may open at most 65,536 files and directories at once, without effect on other users', async () => {
    const fs = await FileSystem.open(new TestStore())
    const paths = new Paths(fs)
    await paths.write('file', 'content')
    const { ino } = (await fs.lookup(ROOT_INO, toName('file'))).attributes
    let last: Fh | undefined
    for (let i = 0; i < MAX / 2; i++) {
      last = (await fs.open(ino, constants.O_RDONLY, user)).fh
      await fs.opendir(ROOT_INO, 0, user)
    }
    expect(await codeOf(fs.open(ino, constants.O_RDWR | constants.O_TRUNC, user))).toBe('ENFILE')
    expect(await codeOf(fs.opendir(ROOT_INO, 0, user))).toBe('ENFILE')
    expect(await codeOf(fs.create(ROOT_INO, toName('new'), 0o644, constants.O_RDWR, user))).toBe('ENFILE')
    expect((await paths.list('')).sort()).toEqual(['file'])
    expect((await paths.read('file')).toString()).toBe('content')
    const other = await fs.open(ino, constants.O_RDONLY, { ...user, uid: USER + 1 })
    await fs.release(ino, other.fh)
    await fs.release(ino, last!)
    const again = await fs.open(ino, constants.O_RDONLY, user)
    await fs.release(ino, again.fh)
    await fs.close()
  })

  test('may not exceed that with opens that run at once', async () => {
    const fs = await FileSystem.open(new TestStore())
    const { ino } = (await fs.mkdir(ROOT_INO, toName('directory'), 0o777, user)).attributes
    const opens: Promise<unknown>[] = []
    const make = async (name: string): Promise<void> =>
      void (await fs.create(ino, toName(name), 0o644, constants.O_RDWR, user))
    for (let i = 0; i < MAX - 10; i++) await fs.opendir(ino, 0, user)
    for (let i = 0; i < 20; i++) opens.push(make(`${i}`), fs.opendir(ino, 0, user))
    const outcomes = await Promise.allSettled(opens)
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(10)
    expect(await codeOf(make('more'))).toBe('ENFILE')
    await fs.close()
  })

  test('gets back the room of an open that failed', async () => {
    const fs = await FileSystem.open(new TestStore())
    const paths = new Paths(fs)
    await paths.write('file', 'content')
    const { ino } = (await fs.lookup(ROOT_INO, toName('file'))).attributes
    for (let i = 0; i < MAX; i++)
      expect(await codeOf(fs.open(ROOT_INO, constants.O_RDONLY, user))).toBe('EISDIR')
    await fs.open(ino, constants.O_RDONLY, user)
    await fs.close()
  })

  test('is charged for the memory of generated files', async () => {
    const handles = new Handles()
    const content = Buffer.alloc(600 * 1024)
    const open = (): Promise<Fh> =>
      handles.opening(
        USER,
        async () => handles.add({ kind: 'generated', content }),
        fh => fh,
      )
    const opened: Fh[] = []
    await expect(
      (async () => {
        for (;;) opened.push(await open())
      })(),
    ).rejects.toThrow('too many open files')
    expect(opened.length).toBeLessThan(70)
    for (const fh of opened) handles.remove(fh)
    expect(await open()).toBeLessThan(70)
  })
})
