import { expect, test } from 'vitest'
import type { ServedFileSystem } from '../../../core/file-system/served-file-system.ts'
import { leaseCalls } from '../../../mount/daemon/lease-calls.ts'

test('a list of unstored paths is whole, though another call reads it meanwhile', async () => {
  const all = Array.from({ length: 20_000 }, (_, index) => ({
    kind: 'changed',
    path: `a directory/file ${index}`,
  }))
  const { unstored } = leaseCalls({
    unstoredPaths: () => Promise.resolve([...all]),
  } as unknown as ServedFileSystem)
  const found: string[][] = [[], []]
  const take = async (reader: number): Promise<boolean> => {
    const list = found[reader]!
    const { paths, isEnd } = await unstored({ from: list.length })
    list.push(...paths.map(({ path }) => Buffer.from(path, 'base64').toString()))
    return isEnd
  }
  expect(await take(0)).toBe(false)
  while (!(await take(1)));
  while (!(await take(0)));
  for (const list of found) expect(list).toEqual(all.map(({ path }) => path))
})
