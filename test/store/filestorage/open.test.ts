/** Which files are opened as a FileStorage. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CannotOpenError } from '../../../store/errors.ts'
import { HandFile } from '../../tools/zodb-file.ts'
import { temporary, textOf } from './temporary.ts'

const temp = temporary()

describe('opening a FileStorage', () => {
  test.each([
    ['a missing file', undefined, 'no such file'],
    ['an empty file', '', 'is not a FileStorage'],
    ['a directory', { name: '.' }, 'is not a regular file'],
    ['another file', 'SQLite format 3\0', 'is not a FileStorage'],
  ])('%s is refused by name', async (_, content, message) => {
    const { directory } = temp.current
    const path =
      typeof content === 'string' ? temp.current.write(content) : join(directory, content?.name ?? 'missing')
    await expect(temp.current.open(path)).rejects.toThrow(CannotOpenError)
    await expect(temp.current.open(path)).rejects.toThrow(message)
    await expect(temp.current.open(path)).rejects.toThrow(path)
  })

  test('with an oid beyond 2^53 is refused, with the oid', async () => {
    const path = temp.current.write(
      new HandFile().add({ tid: 1n, records: [{ oid: 2n ** 53n, data: 'x' }] }).bytes,
    )
    await expect(temp.current.open(path)).rejects.toThrow(/object whose id is beyond 2\^53 .* at byte 27/)
  })

  test('with the largest supported oid succeeds', async () => {
    const largest = Number.MAX_SAFE_INTEGER
    const path = temp.current.write(
      new HandFile().add({ tid: 1n, records: [{ oid: largest, data: 'x' }] }).bytes,
    )
    expect(await textOf(await temp.current.open(path), largest)).toBe('x')
  })

  test('ignores the index of ZODB beside it, right or wrong', async () => {
    const path = temp.current.write(
      new HandFile().add({ tid: 30n, records: [{ oid: 1, data: 'eins' }] }).bytes,
    )
    temp.current.write(Buffer.from('80037d', 'hex'), 'Data.fs.index')
    expect(await textOf(await temp.current.open(path), 1)).toBe('eins')
  })
})
