/** Checks link counts, and the totals in the superblock, against the results of the walk. */
import { Inode } from '../tree/inode.ts'
import type { Superblock } from '../tree/superblock.ts'
import type { CheckContext } from './check-context.ts'
import { faultOf } from './trees.ts'

export class CountsCheck {
  readonly #context: CheckContext

  constructor(context: CheckContext) {
    this.#context = context
  }

  async checkLinks(): Promise<void> {
    for (const { oid, links } of this.#context.inodes.links(this.#context.isRepair)) {
      const inode = Inode.at(this.#context.connection, oid)
      await inode.activate()
      const { nlink } = inode
      // A lost inode has a count without a name, which was already reported.
      if (nlink === links || (links === 0 && nlink > 0 && !this.#context.isRepair)) continue
      this.#context.found(
        {
          kind: 'links',
          path: await this.#context.inodes.pathOf(oid),
          oid,
          reason: `its link count is ${nlink}, but it has ${links} links`,
        },
        'corrected',
      )
      if (this.#context.isRepair) inode.nlink = links
      await this.#context.commit(false)
    }
  }

  async checkUsage(superblock: Superblock): Promise<void> {
    const usage = this.#context.inodes.usage()
    const recorded = await superblock.usage().catch(faultOf)
    if ('bytes' in recorded && recorded.bytes === usage.bytes && recorded.inodes === usage.inodes) return
    const before =
      'bytes' in recorded ? `${recorded.inodes} inodes with ${recorded.bytes} bytes` : recorded.reason
    this.#context.found(
      {
        kind: 'usage',
        reason: `the superblock says ${before}, but there are ${usage.inodes} with ${usage.bytes}`,
      },
      'corrected',
    )
    if (this.#context.isRepair) await superblock.setUsage(usage)
  }
}
