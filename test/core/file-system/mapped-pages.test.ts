/** Rounds in which the kernel writes back pages of mappings. */
import { expect, test } from 'vitest'
import type { Node } from '../../../core/file-system/inodes/tree.ts'
import { MappedPages } from '../../../core/file-system/mapped-pages.ts'

function withRounds(): { readonly pages: MappedPages; readonly ends: (() => void)[]; readonly node: Node } {
  const ends: (() => void)[] = []
  const pages = new MappedPages({
    intervalMs: 1 << 30,
    writeBackPages: () => new Promise(resolve => void ends.push(resolve)),
  })
  const node = { mappableHandles: 0 } as Node
  pages.opened(node)
  return { pages, ends, node }
}

const turn = (): Promise<void> => new Promise(resolve => void setImmediate(resolve))

test('calls during a round share the next one', async () => {
  const { pages, ends, node } = withRounds()
  const first = pages.collect()
  const others = Array.from({ length: 10 }, () => pages.collectFor(node, 'stat'))
  expect(ends).toHaveLength(1)
  ends[0]?.()
  await first
  await turn()
  expect(ends).toHaveLength(2)
  ends[1]?.()
  for (const other of others) await other
  await turn()
  expect(ends).toHaveLength(2)
  pages.stop()
})

test('a user is served by a round that began after its call, and by a recent one of its own', async () => {
  const { pages, ends, node } = withRounds()
  const other = pages.collect()
  const asked = pages.collectFor(node, 'stat')
  // Not answered from the round that was running before.
  expect(pages.collectFor(node, 'stat')).toBeDefined()
  ends[0]?.()
  await other
  await turn()
  ends[1]?.()
  await asked
  expect(pages.collectFor(node, 'stat')).toBeUndefined()
  pages.stop()
})
