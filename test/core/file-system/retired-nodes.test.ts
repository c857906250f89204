/** Inode numbers of a tree whose unstored inodes were lost, and whose oids others have used since. */
import { expect, test } from 'vitest'
import { RememberedNodes } from '../../../core/file-system/inodes/remembered-nodes.ts'
import { INO_SPAN, Tree } from '../../../core/file-system/inodes/tree.ts'
import type { Connection } from '../../../core/objects/connection.ts'
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
  expect(tree.nodeOf(lost.ino)).toBe(lost)
  const next = tree.node(oid(70))
  expect(next.isGone).toBe(false)
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
