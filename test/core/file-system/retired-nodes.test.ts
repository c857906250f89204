/** Inode numbers of a tree whose unstored inodes were lost, and whose oids others have used since. */
import { expect, test } from 'vitest'
import { RememberedNodes } from '../../../core/file-system/inodes/remembered-nodes.ts'
import { INO_SPAN, Tree } from '../../../core/file-system/inodes/tree.ts'
import { RetriedWalks } from '../../../core/file-system/shared/retried-walks.ts'
import type { Connection } from '../../../core/objects/connection.ts'
import { ino } from '../../../core/file-system/operations.ts'
import { oid } from '../../../store/ids.ts'

const openTree = (): Tree =>
  new Tree(
    { number: 0, generation: 0, rootOid: oid(2), readOnly: false },
    {} as Connection,
    new RememberedNodes(),
  )

test('another inode with the oid of a lost one has another inode number, as long as the kernel knows the lost one and longer', () => {
  const tree = openTree()
  const lost = tree.node(oid(70))
  lost.refer()
  tree.retire(lost)
  expect(lost.isGone).toBe(true)
  expect(tree.isRetired(lost.ino)).toBe(true)
  expect(tree.nodeOf(lost.ino)).toBe(lost)
  const next = tree.node(oid(70))
  expect([next.isGone, tree.isRetired(next.ino)]).toEqual([false, false])
  expect(next.ino).not.toBe(lost.ino)
  expect(next.ino).toBeLessThan(INO_SPAN - 1)
  expect(tree.inoOf(oid(70))).toBe(next.ino)
  expect([tree.nodeOf(next.ino), tree.knownOf(next.ino)]).toEqual([next, next])
  next.refer()

  tree.retire(next)
  const last = tree.node(oid(70))
  expect(new Set([lost.ino, next.ino, last.ino]).size).toBe(3)
  expect([...tree.nodes]).toHaveLength(3)

  for (const node of [lost, next]) {
    tree.knownOf(node.ino)?.forget(1)
    tree.dropUnused(node)
  }
  expect([...tree.nodes]).toEqual([last])
  expect(tree.nodeOf(last.ino)).toBe(last)
})

test('a path walk is repeated once, by the thread whose open failed', () => {
  const walks = new RetriedWalks()
  const [old, found] = [ino(70), ino(71)]
  expect(walks.end(1, old)).toBe(undefined)
  walks.begin(1, old)
  walks.found(2, found)
  walks.found(1, ino(2))
  walks.found(1, found)
  expect(walks.end(2, found)).toBe(undefined)
  expect(walks.end(1, found)).toBe(true)
  expect(walks.end(1, found)).toBe(undefined)
  walks.begin(1, old)
  walks.found(1, found)
  expect(walks.end(1, old)).toBe(false)
  walks.begin(1, old)
  walks.found(1, undefined)
  expect(walks.end(1, old)).toBe(undefined)
  // A descriptor.
  walks.begin(1, old)
  expect(walks.end(1, old)).toBe(true)
})
