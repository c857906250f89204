/**
 * Walks the present tree of directories from the root down, and checks its global invariants:
 *
 * 1. the path to the root directory: root mapping, superblock (superblock-check.ts);
 * 2. each directory's entries, each inode, each file's bytes (walk.ts, file-check.ts);
 * 3. inodes with a positive link count, but in no directory: they are **lost** (lost-inodes.ts);
 * 4. link counts, and the totals in the superblock (counts-check.ts).
 *
 * A repair changes objects through the connection, so it becomes ordinary transactions, which can be inspected and undone:
 * it removes entries that lead nowhere, links lost inodes into `/lost+found`, and corrects counts. If the present state
 * of an object that rarely changes (an inode, a file's object) is lost, its last readable state is restored.
 */
import { CheckContext, type FileSystemCheckParts } from './check-context.ts'
import { CountsCheck } from './counts-check.ts'
import { LostInodes } from './lost-inodes.ts'
import { SuperblockCheck } from './superblock-check.ts'
import { faultOf } from './trees.ts'
import { Walk } from './walk.ts'

export class FileSystemCheck {
  readonly #context: CheckContext

  constructor(parts: FileSystemCheckParts) {
    this.#context = new CheckContext(parts)
  }

  /** Number of files and directories met. */
  get count(): number {
    return this.#context.inodes.count
  }

  close(): void {
    this.#context.inodes.close()
  }

  async run(): Promise<void> {
    const context = this.#context
    const beginning = new SuperblockCheck(context)
    const superblock = await beginning.open()
    const rootOid = await beginning.openRoot(superblock)
    if (superblock === undefined || rootOid === undefined) return
    const walk = new Walk(context)
    try {
      const usage = await superblock.usage().catch(faultOf)
      if ('inodes' in usage) walk.expect(usage.inodes)
      await beginning.checkTags(superblock)
      await walk.run()
      const lost = new LostInodes(context, walk)
      await lost.checkOrphans(superblock)
      // An inode that was deleted on a full disk may have kept its link count (objects/unreachable.ts). None is lost where as many
      // were met as there are.
      const isWhole = 'inodes' in usage && context.inodes.count >= usage.inodes
      if (!isWhole) await lost.findLost(rootOid)
      const counts = new CountsCheck(context)
      await counts.checkLinks()
      await counts.checkUsage(superblock)
      await context.commit(true)
    } finally {
      walk.close()
    }
  }
}
