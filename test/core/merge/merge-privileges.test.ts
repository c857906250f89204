/** Merges of files that run with other rights: setuid, setgid, capabilities. */
import { describe, expect, test } from 'vitest'
import type { Database } from '../../../core/database/database.ts'
import { both, merge } from './both.ts'

const REASON = 'both changed it, and it is setuid, setgid or has capabilities'
const isRoot = process.getuid?.() === 0

const pair = (): ReturnType<typeof both> => both(({ files }) => files.writeFile('/f', 'old', { mode: 0o755 }))

const conflicting = async (main: Database): Promise<readonly string[]> =>
  (await merge(main, 'b')).conflicts.map(({ path, reason }) => `${path}: ${reason}`)

const stateOf = async ({ files }: Database): Promise<readonly [string, number, number]> => {
  const { mode, uid } = await files.lstat('/f')
  return [await files.readFile('/f', 'utf8'), mode & 0o7777, uid]
}

describe.runIf(isRoot)('privileges are a conflict', () => {
  test('of the branch, which the database would give to another owner', async () => {
    const { main, branch } = await pair()
    await main.files.chown('/f', 7, 7)
    await branch.files.chmod('/f', 0o4755)
    await branch.sync()
    expect(await conflicting(main)).toEqual([`f: ${REASON}`])
    expect(await stateOf(main)).toEqual(['old', 0o755, 7])
  })

  test('of the branch, which the database would give to other bytes', async () => {
    const { main, branch } = await pair()
    await main.files.writeFile('/f', 'of another')
    await branch.files.chmod('/f', 0o2755)
    await branch.sync()
    expect(await conflicting(main)).toEqual([`f: ${REASON}`])
    expect(await stateOf(main)).toEqual(['of another', 0o755, 0])
  })

  test('of the database, which the branch would give to its bytes or its owner', async () => {
    for (const change of [
      ({ files }: Database) => files.writeFile('/f', 'of another'),
      ({ files }: Database) => files.chown('/f', 7, 7),
    ]) {
      const { main, branch } = await pair()
      await main.files.chmod('/f', 0o4755)
      await change(branch)
      await branch.sync()
      expect(await conflicting(main)).toEqual([`f: ${REASON}`])
      expect(await stateOf(main)).toEqual(['old', 0o4755, 0])
    }
  })

  test('that are capabilities for other bytes', async () => {
    const { main, branch } = await pair()
    await main.files.writeFile('/f', 'of another')
    await branch.files.setXattr('/f', 'security.capability', Buffer.alloc(20, 1))
    await branch.sync()
    expect(await conflicting(main)).toEqual([`f: ${REASON}`])
    expect(await main.files.listXattrs('/f')).toEqual([])
  })
})

test.runIf(isRoot)('capabilities that both have are a conflict, if each has changed the bytes', async () => {
  const capabilities = Buffer.from('0100000200040000000000000000000000000000', 'hex')
  const { main, branch } = await both(async ({ files }) => {
    await files.writeFile('/f', Buffer.alloc(8 << 20))
    await files.setXattr('/f', 'security.capability', capabilities)
  })
  for (const [database, position] of [
    [main, 0],
    [branch, 6 << 20],
  ] as const) {
    const file = await database.files.open('/f', 'r+')
    await file.write(Buffer.from('changed'), 0, 7, position)
    await file.close()
    await database.files.setXattr('/f', 'security.capability', capabilities)
  }
  await branch.sync()
  expect(await conflicting(main)).toEqual([`f: ${REASON}`])
})

describe.runIf(isRoot)('privileges are merged', () => {
  test('if the database did not change the file', async () => {
    const { main, branch } = await pair()
    await branch.files.writeFile('/f', 'new')
    await branch.files.chown('/f', 7, 7)
    await branch.files.chmod('/f', 0o4755)
    await branch.sync()
    expect(await conflicting(main)).toEqual([])
    expect(await stateOf(main)).toEqual(['new', 0o4755, 7])
  })

  test('with another owner, if the branch gave them again to that one', async () => {
    const { main, branch } = await both(async ({ files }) => {
      await files.writeFile('/f', 'old')
      await files.chmod('/f', 0o4755)
    })
    await branch.files.chown('/f', 7, 7)
    await branch.files.chmod('/f', 0o4755)
    await branch.sync()
    expect(await conflicting(main)).toEqual([])
    expect(await stateOf(main)).toEqual(['old', 0o4755, 7])
  })

  test('and capabilities stay if both have the same', async () => {
    const capabilities = Buffer.from('0100000200040000000000000000000000000000', 'hex')
    for (const change of [
      ({ files }: Database) => files.chown('/f', 7, 7),
      ({ files }: Database) => files.writeFile('/f', 'new'),
    ]) {
      const { main, branch } = await both(async ({ files }) => {
        await files.writeFile('/f', 'old')
        await files.setXattr('/f', 'security.capability', capabilities)
      })
      await change(branch)
      await branch.files.setXattr('/f', 'security.capability', capabilities)
      await branch.sync()
      expect(await conflicting(main)).toEqual([])
      expect(await main.files.getXattr('/f', 'security.capability')).toEqual(capabilities)
    }
  })
})
