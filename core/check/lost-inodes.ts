/** Checks inodes without a name: deleted ones in use, and lost ones, which a repair links into `/lost+found`. */
import type { Oid } from '../../store/ids.ts'
import { LOBTree, OOBTree } from '../btree/tree.ts'
import { Ref } from '../objects/pickle/value.ts'
import { Directory } from '../tree/directory.ts'
import { Inode, isDirectory } from '../tree/inode.ts'
import type { Superblock } from '../tree/superblock.ts'
import type { CheckContext } from './check-context.ts'
import type { Walk } from './walk.ts'

const LOST_AND_FOUND = 'lost+found'
const PRIVATE_MODE = 0o040700

export class LostInodes {
  readonly #context: CheckContext
  readonly #walk: Walk

  constructor(context: CheckContext, walk: Walk) {
    this.#context = context
    this.#walk = walk
  }

  /** Checks deleted files that are in use. */
  async checkOrphans(superblock: Superblock): Promise<void> {
    const fault = await this.#context.treeFault(() => superblock.orphans())
    if (fault !== undefined) {
      this.#context.found(
        { kind: 'superblock', reason: `the deleted files in use: ${fault.reason}`, oid: fault.oid },
        'the readable ones are kept',
      )
      if (!this.#context.isRepair) return
      await this.#context.replaceTree(superblock, 'orphans', LOBTree)
    }
    const orphans = await superblock.orphans()
    const broken: number[] = []
    for await (const [key, value] of orphans.range()) {
      const path = `(deleted, in use)/${key}`
      if (value instanceof Ref && this.#context.inodes.get(value.oid) !== undefined) continue
      const inode = value instanceof Ref ? await this.#walk.inode(value, path) : undefined
      if (inode !== undefined) await this.#walk.meet(inode, path, undefined, '')
      else {
        this.#context.found({ kind: 'entry', path, reason: 'it does not lead to an inode' }, 'removed')
        broken.push(key)
      }
    }
    if (this.#context.isRepair) for (const key of broken) await orphans.delete(key)
  }

  /** Finds inodes with a positive link count and no name: their directories are damaged. */
  async findLost(rootOid: Oid): Promise<void> {
    let found: Inode | undefined
    for await (const mapping of this.#context.mappings(oid => !this.#context.inodes.has(oid))) {
      const nlink = mapping.get('nlink')
      if (typeof nlink !== 'number' || nlink <= 0 || typeof mapping.get('mode') !== 'number') continue
      if (this.#context.inodes.get(mapping.oid) !== undefined) continue
      this.#context.inodes.addLost(mapping.oid)
      const entries = mapping.get('entries')
      const tree = entries instanceof Ref ? await this.#context.resolve(entries) : undefined
      if (!(tree instanceof OOBTree)) continue
      for await (const part of this.#context.trees.parts(tree)) {
        if ('fault' in part) continue
        for (const value of part.values)
          if (value instanceof Ref && value.oid !== mapping.oid) this.#context.inodes.addLostChild(value.oid)
      }
    }
    // First those that no other lost inode leads to; the remaining ones form cycles.
    for (
      let lost = this.#context.inodes.nextLost();
      lost !== undefined;
      lost = this.#context.inodes.nextLost()
    ) {
      const path = this.#context.isRepair ? `/${LOST_AND_FOUND}/#${lost}` : `(lost)/#${lost}`
      const inode = await this.#walk.inode(this.#context.mapping(lost).ref, path)
      if (inode === undefined) continue
      const what = isDirectory(inode) ? 'a directory' : `a file of ${inode.size} bytes`
      this.#context.found({ kind: 'lost', oid: lost, reason: `${what} in no directory` }, `it is now ${path}`)
      if (this.#context.isRepair) {
        found ??= await this.#lostAndFound(rootOid)
        await found.activate()
        await Directory.of(this.#context.connection, found).set(`#${lost}`, inode)
        await inode.activate()
      }
      await this.#walk.meet(inode, path, found?.oid, `#${lost}`)
      await this.#walk.run()
    }
  }

  async #lostAndFound(rootOid: Oid): Promise<Inode> {
    const root = Inode.at(this.#context.connection, rootOid)
    await root.activate()
    const directory = Directory.of(this.#context.connection, root)
    const existing = await directory.get(LOST_AND_FOUND)
    if (existing !== undefined && this.#context.inodes.get(existing)?.isDirectory === true)
      return Inode.at(this.#context.connection, existing)
    if (existing !== undefined) {
      await directory.set(`${LOST_AND_FOUND}.${existing}`, Inode.at(this.#context.connection, existing))
      await directory.delete(LOST_AND_FOUND)
    }
    await root.activate()
    const made = await this.#context.newDirectory(PRIVATE_MODE, root)
    await directory.set(LOST_AND_FOUND, made)
    this.#context.inodes.enter({
      oid: made.oid,
      isDirectory: true,
      parent: rootOid,
      name: LOST_AND_FOUND,
      stored: 0,
      nlink: made.nlink,
    })
    // Counts as walked: entries added later are met one by one.
    this.#context.inodes.nextDirectory()
    return made
  }
}
