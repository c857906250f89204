/** Paths that lead elsewhere between a lookup and an open, as on a database that another machine writes. */
import { expect, test } from 'vitest'
import { Files } from '../../../core/database/files.ts'
import { ErrnoError } from '../../../core/file-system/errno.ts'
import { MemoryOperations } from '../../tools/memory-operations.ts'

test('a path is walked again when an open fails with ESTALE, but not for ever', async () => {
  const operations = new MemoryOperations()
  const files = new Files({
    operations,
    caller: { uid: 0, gid: 0, pid: 1 },
    guard: async work => await work(),
    umask: 0,
    base: async () => [],
  })
  await files.writeFile('file', 'data')
  await files.mkdir('directory')
  const state = { stale: 3 }
  const failing =
    <P extends readonly unknown[], R>(open: (...parameters: P) => R) =>
    (...parameters: P): R => {
      if (state.stale-- > 0) throw new ErrnoError('ESTALE')
      return open(...parameters)
    }
  operations.open = failing(operations.open.bind(operations))
  operations.opendir = failing(operations.opendir.bind(operations))
  expect(await files.readFile('file', 'utf8')).toBe('data')
  state.stale = 3
  expect(await files.readdir('directory')).toEqual([])
  state.stale = Infinity
  await expect(files.readFile('file')).rejects.toMatchObject({ code: 'ESTALE' })
})
