/** What the kernel must drop after changes that it did not make itself. */
import { constants } from 'node:fs'
import { expect, test } from 'vitest'
import { name as toName, ROOT_INO, type Notifier } from '../../../core/file-system/operations.ts'
import { memoryPaths } from '../../tools/temporary-database.ts'

const { O_RDWR, O_TRUNC } = constants

test.each([
  ['keeps the pages of an existing file', O_RDWR, false],
  ['drops them with O_TRUNC', O_RDWR | O_TRUNC, true],
])('creating a file %s', async (_what, flags, isDropped) => {
  const paths = await memoryPaths()
  await paths.write('file', 'content')
  const { ino } = await paths.stat('file')
  const dropped: unknown[][] = []
  const notifier: Notifier = {
    invalidateInode: (...range) => void dropped.push(range),
    invalidateEntry: () => undefined,
    invalidateNames: () => undefined,
    invalidateAttributes: async () => undefined,
    settled: async () => undefined,
  }
  paths.fs.attach(notifier)
  const caller = { uid: 0, gid: 0, pid: 1 }
  const { file } = await paths.fs.besideKernel.create(ROOT_INO, toName('file'), 0o644, flags, caller)
  await paths.fs.release(ino, file.fh)
  const hasRange = dropped.some(([of, off, len]) => of === ino && off === 0n && len === 0n)
  expect(hasRange).toBe(isDropped)
})
