import { expect, test } from 'vitest'
import { showAs } from '../../../core/file-system/show-as.ts'
import { name, ROOT_INO } from '../../../core/file-system/operations.ts'
import { MemoryOperations } from '../../tools/memory-operations.ts'

const caller = { uid: 7, gid: 8, pid: 9 }

test('without options the operations are returned unchanged', () => {
  const operations = new MemoryOperations()
  expect(showAs(operations, {})).toBe(operations)
})

test('uid, gid and umask change all displayed attributes, not the stored ones', async () => {
  const operations = new MemoryOperations()
  const shown = showAs(operations, { uid: 100, gid: 200, umask: 0o027 })
  const expected = { uid: 100, gid: 200, mode: 0o100640 }

  const created = await shown.create(ROOT_INO, name('f'), 0o100666, 2, caller)
  expect(created.entry.attributes).toMatchObject(expected)
  const { ino } = created.entry.attributes
  expect((await shown.lookup(ROOT_INO, name('f'), caller)).attributes).toMatchObject(expected)
  expect(await shown.getattr(ino)).toMatchObject(expected)
  expect(await shown.setattr(ino, { mode: 0o644 }, caller)).toMatchObject(expected)
  expect((await shown.link(ino, ROOT_INO, name('g'), caller)).attributes).toMatchObject(expected)
  expect((await shown.mkdir(ROOT_INO, name('d'), 0o777, caller)).attributes).toMatchObject({
    uid: 100,
    mode: 0o40750,
  })
  expect(await operations.getattr(ino)).toMatchObject({ uid: 7, gid: 8, mode: 0o100644 })
  expect(await shown.write(ino, created.file.fh, 0n, Buffer.from('abc'))).toBe(3)
})
