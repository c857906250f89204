import { expect, onTestFinished, test } from 'vitest'
import { feed } from '../../../core/database/feed.ts'
import { pack } from '../../../core/pack/pack.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { formatTid, TID_MAX, tid as toTid } from '../../../store/ids.ts'
import { MemoryStore } from '../../../store/memory/memory-store.ts'
import { Paths } from '../../tools/paths.ts'

test('a feed that falls behind a pack ends with an error, and leaves out no transaction', async () => {
  const store = new MemoryStore()
  const fileSystem = await FileSystem.open(store)
  onTestFinished(() => fileSystem.close())
  const paths = new Paths(fileSystem)
  const tids: string[] = []
  for (const text of ['one', 'two', 'three', 'four']) {
    await paths.write('file', text)
    tids.push(formatTid(await fileSystem.sync()))
  }
  const [since = '', second] = tids
  const changesOf = async function* (): AsyncGenerator<never> {}
  const source = { store, moment: (when: string) => Promise.resolve(toTid(BigInt(`0x${when}`))), changesOf }
  const transactions = feed(source, { since })
  expect((await transactions.next()).value).toMatchObject({ tid: second })
  await pack(store, { from: TID_MAX })
  await expect(transactions.next()).rejects.toMatchObject({ code: 'no-moment' })
})
