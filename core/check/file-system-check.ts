/**
 * Walks the tree of directories as it is now, from the root down, and checks what only the whole shows:
 *
 * 1. the way to the root directory: root mapping, superblock (superblock-check.ts);
 * 2. each directory's entries, each inode, each file's bytes (walk.ts, file-check.ts);
 * 3. inodes that have links by their own count, but that no directory leads to: they are **lost**
 *    (lost-inodes.ts);
 * 4. link counts, and the sums in the superblock (counts-check.ts).
 *
 * Repairing changes objects through the connection as any change does, so it becomes ordinary transactions, which
 * can be looked at and undone: entries that lead nowhere go, what is lost is entered in `/lost+found`, counts are
 * set. An object whose present state is lost, and which hardly changes (an inode, a file's object), gets its last state
 * that can be read.
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

  /** Files and directories that were met. */
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
    const usage = await superblock.usage().catch(faultOf)
    if ('inodes' in usage) walk.expect(usage.inodes)
    await beginning.checkTags(superblock)
    await walk.run()
    const lost = new LostInodes(context, walk)
    await lost.checkOrphans(superblock)
    await lost.findLost(rootOid)
    const counts = new CountsCheck(context)
    await counts.checkLinks()
    await counts.checkUsage(superblock)
    await context.commit(true)
  }
}
