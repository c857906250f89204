/** Operations that need only what is in memory, or cached by the kernel, are answered without a promise. */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ATTRIBUTE_ABSENT, NAME_ABSENT } from '../../../core/file-system/errno.ts'
import { name as toName, ROOT_INO } from '../../../core/file-system/operations.ts'
import { temporaryDirectory } from '../../store/sqlite/temporary-directory.ts'
import type { OpenedFile, Paths } from '../../tools/paths.ts'
import { openPaths } from '../../tools/temporary-database.ts'

const content = randomBytes(3 << 20)
const WRITTEN = Buffer.alloc(4096, 'written')

let directory: string
let paths: Paths
let file: OpenedFile
beforeEach(async () => {
  directory = await temporaryDirectory()
  paths = await openPaths(`${directory}/test.db`)
  await paths.write('file', content)
  await paths.fs.sync()
  file = await paths.open('file')
  await paths.readAt(file, 0n, content.length)
})
afterEach(async () => {
  await paths.fs.close()
  await rm(directory, { recursive: true, force: true })
})

describe('of a stored file that was read before', () => {
  test('reads', () => {
    const found = paths.fs.read(file.ino, file.fh, 1_234_567n, 4096)
    expect(found).not.toBeInstanceOf(Promise)
    expect(Buffer.concat(found as Uint8Array[])).toStrictEqual(content.subarray(1_234_567, 1_234_567 + 4096))
  })

  test('writes, and reads of what was written', () => {
    expect(paths.fs.write(file.ino, file.fh, 40_960n, WRITTEN)).toBe(4096)
    expect(paths.fs.read(file.ino, file.fh, 40_960n, 4096)).toStrictEqual([new Uint8Array(WRITTEN)])
  })

  test('attributes, extended ones, names, and closing', () => {
    expect(paths.fs.getattr(file.ino)).toMatchObject({ size: BigInt(content.length) })
    expect(() => paths.fs.getxattr(file.ino, 'security.capability')).toThrow(ATTRIBUTE_ABSENT)
    expect(paths.fs.lookup(ROOT_INO, toName('file'))).toMatchObject({ attributes: { ino: file.ino } })
    expect(() => paths.fs.lookup(ROOT_INO, toName('missing'))).toThrow(NAME_ABSENT)
    expect(paths.fs.release(file.ino, file.fh)).toBeUndefined()
  })
})
