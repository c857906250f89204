import { readdirSync, readlinkSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { openRevisionReader } from '../../../store/sqlite/revision-reader.ts'
import { temporaryDirectory } from './temporary-directory.ts'

let directory: string
beforeEach(async () => {
  directory = await temporaryDirectory()
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

const openFiles = (): readonly string[] =>
  readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)].filter(path => path.startsWith(directory))
    } catch {
      return []
    }
  })

test('a reader that fails to open leaves no connection behind', async () => {
  const path = `${directory}/test.db`
  await (await openSqliteStore(path, { create: true })).close()
  const open = (): unknown =>
    openRevisionReader(path, undefined, () => {
      throw new Error('no log')
    })
  expect(open).toThrow('no log')
  expect(openFiles()).toEqual([])
})
