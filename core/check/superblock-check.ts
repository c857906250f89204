/** Checks and repairs the path to the root directory: root mapping, superblock, tags. */
import { ROOT_OID, type Oid } from '../../store/ids.ts'
import { LOBTree, OOBTree } from '../btree/tree.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { Ref, type ByteString } from '../objects/pickle/value.ts'
import { Inode, isDirectory } from '../tree/inode.ts'
import { Superblock } from '../tree/superblock.ts'
import type { CheckContext } from './check-context.ts'

const ROOT_MODE = 0o040755

export class SuperblockCheck {
  readonly #context: CheckContext

  constructor(context: CheckContext) {
    this.#context = context
  }

  async open(): Promise<Superblock | undefined> {
    const root = this.#context.mapping(ROOT_OID)
    const rootIsWhole = await this.#context.restorable(root, 'superblock', 'the root mapping')
    if (rootIsWhole) {
      const ref = root.get('zblkfs')
      const object = ref instanceof Ref ? await this.#context.resolve(ref) : undefined
      if (
        object instanceof PersistentMapping &&
        (await this.#context.restorable(object, 'superblock', 'the superblock'))
      )
        return await Superblock.open(this.#context.connection)
      if (!this.#context.isRepair || rootIsWhole === 'restored')
        this.#context.found({ kind: 'superblock', reason: 'the root mapping does not lead to a superblock' })
    }
    if (!this.#context.isRepair) return undefined
    return await this.#newSuperblock(root)
  }

  async openRoot(superblock: Superblock | undefined): Promise<Oid | undefined> {
    if (superblock === undefined) return undefined
    if ((await superblock.rootRef()).className !== PersistentMapping.CLASS_NAME) {
      const reason = 'the root directory is not an inode'
      this.#context.found(
        { kind: 'superblock', reason },
        'the directory that is its own parent becomes the root',
      )
      if (!this.#context.isRepair) return undefined
      await superblock.setRoot(await this.#findRootDirectory())
    }
    const { oid: rootOid } = await superblock.rootRef()
    const mapping = this.#context.mapping(rootOid)
    if (!(await this.#context.restorable(mapping, 'directory', 'the root directory', '/'))) {
      if (!this.#context.isRepair) return undefined
      const made = await this.#context.newDirectory(ROOT_MODE)
      await this.#context.overwrite(mapping, made.object.entries())
      await mapping.activate()
      mapping.set('parent', mapping.ref)
    }
    const root = Inode.at(this.#context.connection, rootOid)
    if (!isDirectory(root)) {
      this.#context.found(
        { kind: 'directory', path: '/', oid: rootOid, reason: 'the root is not a directory' },
        'it becomes a directory',
      )
      if (!this.#context.isRepair) return undefined
      root.mode = ROOT_MODE
    }
    this.#context.inodes.enter({
      oid: rootOid,
      isDirectory: true,
      parent: rootOid,
      name: '',
      stored: 0,
      nlink: root.nlink,
    })
    return rootOid
  }

  async checkTags(superblock: Superblock): Promise<void> {
    const fault = await this.#context.treeFault(() => superblock.tags())
    if (fault === undefined) return await this.#checkTagValues(superblock)
    this.#context.found(
      { kind: 'superblock', reason: `the tags: ${fault.reason}`, oid: fault.oid },
      'the readable ones are kept',
    )
    if (this.#context.isRepair) await this.#context.replaceTree(superblock, 'tags', OOBTree)
  }

  /** Finds the superblock, or the root directory, among all objects; otherwise creates new ones. */
  async #newSuperblock(root: PersistentMapping): Promise<Superblock | undefined> {
    for await (const mapping of this.#context.mappings()) {
      if (!(mapping.get('orphans') instanceof Ref) || !(mapping.get('root') instanceof Ref)) continue
      const { ref } = mapping
      await this.#context.overwrite(root, [['zblkfs', ref]])
      await this.#context.commit(true)
      return await Superblock.open(this.#context.connection)
    }
    const made = await this.#context.connection.create(PersistentMapping)
    made.set('version', 1)
    made.set('root', new Ref(await this.#findRootDirectory(), PersistentMapping.CLASS_NAME))
    made.set('orphans', (await this.#context.connection.create(LOBTree)).ref)
    made.set('tags', (await this.#context.connection.create(OOBTree)).ref)
    made.set('bytes', 0)
    made.set('inodes', 1)
    await this.#context.overwrite(root, [['zblkfs', made.ref]])
    await this.#context.commit(true)
    return await Superblock.open(this.#context.connection)
  }

  /** The directory that is its own parent; a new one if there is none. */
  async #findRootDirectory(): Promise<Oid> {
    for await (const mapping of this.#context.mappings()) {
      const parent = mapping.get('parent')
      if (parent instanceof Ref && parent.oid === mapping.oid && mapping.get('entries') instanceof Ref)
        return mapping.oid
    }
    return (await this.#context.newDirectory(ROOT_MODE)).oid
  }

  async #checkTagValues(superblock: Superblock): Promise<void> {
    const odd: ByteString[] = []
    for await (const name of superblock.oddTags()) {
      this.#context.found(
        { kind: 'superblock', reason: `the tag '${name.latin1}' is not a transaction` },
        'it is removed',
      )
      if (this.#context.isRepair) odd.push(name)
    }
    for (const name of odd) await (await superblock.tags()).delete(name)
  }
}
