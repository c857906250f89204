/**
 * Changes to the present that use the past: tags, undo, restore, clone; and delimited transactions. Paths are relative to
 * the root, one character per byte.
 */
import { canonicalText } from '../../../store/os-text.ts'
import { textOfStored } from '../../stored-names.ts'
import { parseMoment, resolveMoment } from '../../../store/moments.ts'
import { processOwner } from '../../process-owner.ts'
import { log, transactionAt as infoAt } from '../../history/log.ts'
import { MomentView, partsOf } from '../../history/moment-view.ts'
import { restoreSteps, type RestoreStep } from '../../history/restore-plan.ts'
import { ChangedObjects } from '../../history/changed-objects.ts'
import {
  clash,
  memoryOf,
  reversals,
  type Reversal,
  type UndoneInode,
  type UndoRange,
} from '../../history/undo.ts'
import { isRegular, isDirectory, type Inode } from '../../tree/inode.ts'
import type { StoredTag, Superblock } from '../../tree/superblock.ts'
import { StoreError } from '../../../store/errors.ts'
import type { Store } from '../../../store/store.ts'
import { formatTid, tid as toTid, type Oid, type Tid } from '../../../store/ids.ts'
import { name as toName, type Caller } from '../operations.ts'
import { checkNewName } from '../operations/attributes.ts'
import type { Context } from '../context.ts'
import type { HistoryOperations, Tag } from '../served-file-system.ts'
import { Graft } from './graft.ts'
import { enterCopy, replaceByCopy } from './placing.ts'
import { TreeRestore } from './tree-restore.ts'
import { partsOfOrphans, UndoneNames } from './undone-names.ts'
import type { KernelCaches } from '../inodes/kernel-caches.ts'

const TAG_MAX_BYTES = 254
const FILES_NAMED = 5
/** How the message of a transaction that holds or releases a tag begins. */
const HOLD_VERBS: Readonly<Record<string, string>> = { true: 'hold tag', false: 'release tag' }
/** Paths in the message of a restore. */
const NAMES_MAX_LENGTH = 400

export class History implements HistoryOperations {
  readonly #store: Store
  readonly #context: Context
  readonly #superblock: Superblock
  readonly #caches: KernelCaches

  constructor(store: Store, context: Context, superblock: Superblock) {
    this.#store = store
    this.#context = context
    this.#superblock = superblock
    this.#caches = context.caches
  }

  /**
   * Names a moment; by default the present.
   * @param moves whether an existing tag may be moved to another moment.
   * @param holds true: the tag cannot be moved or deleted from now on; false: it can again; absent: as before. Without `when`, an
   *   existing tag keeps its moment then.
   * @throws StoreError if there is no such moment, the name is taken, or the tag to be moved is held.
   */
  async tag(name: string, when?: string, moves = true, by?: Caller, holds?: boolean): Promise<Tag> {
    assertTagName(name)
    const { connection } = this.#context.live
    let tid = connection.at
    await this.#isolate(by, `${HOLD_VERBS[String(holds)] ?? 'tag'} ${text(name)}`, async () => {
      const [named, wasHeld] = [await this.#superblock.tag(name), await this.#superblock.isHeld(name)]
      if (named === undefined && holds === false) throw noTag(name)
      const stays = holds !== undefined && when === undefined ? named : undefined
      tid = stays ?? (when === undefined ? connection.at : await this.#moment(when))
      if (named !== undefined && named !== tid) {
        if (wasHeld) throw held(name)
        if (!moves)
          throw new StoreError(`the tag ${text(name)} exists already, for transaction ${formatTid(named)}`, {
            code: 'tag-exists',
          })
      }
      await this.#superblock.setTag(name, tid, holds ?? wasHeld)
    })
    return { name, tid }
  }

  /** Makes sure that a transaction has a message: resolves to one after `before` that has it, else stores one, or `last`. */
  async keepMessage(message: string, before: Tid, last: Tid): Promise<Tid> {
    const stored = canonicalText(message)
    for await (const { description } of this.#store.transactions({ after: before }))
      if (description.includes(stored)) return last
    return await this.#context.writeBack.transactions.isolate(message, () => this.#superblock.markChanged())
  }

  /** @throws StoreError if there is no such tag, or it is held. */
  async untag(name: string, by?: Caller): Promise<void> {
    await this.#isolate(by, `delete tag ${text(name)}`, async () => {
      if (await this.#superblock.isHeld(name)) throw held(name)
      if (!(await this.#superblock.deleteTag(name))) throw noTag(name)
    })
  }

  /**
   * Undoes a transaction, or all up to another one, by a new one.
   * @throws UndoClashError; StoreError, also if that would change a held tag. Then nothing is changed.
   */
  async undo(undone: Tid, upTo: Tid = undone, by?: Caller): Promise<Tid> {
    const { live, bookkeeping } = this.#context
    let message = `undo ${formatTid(undone)}`
    if (upTo !== undone) message += ` to ${formatTid(upTo)}`
    else
      for await (const { description } of infoAt(this.#store, undone))
        if (description !== '') message += `: ${description}`
    const undoing = this.#isolate(by, message, async () => {
      const heldTags = await this.#heldTags()
      const changed = new ChangedObjects()
      try {
        await this.#revert({ first: undone, last: upTo }, changed)
      } finally {
        changed.close()
      }
      await bookkeeping.restored(live)
      for (const { name, tid } of heldTags)
        if (!(await this.#superblock.isHeld(name)) || (await this.#superblock.tag(name)) !== tid)
          throw held(name)
      this.#caches.invalidateTree(live)
    })
    try {
      return await undoing
    } catch (error) {
      // The kernel may have read what is rolled back.
      this.#caches.invalidateTree(live)
      throw error
    } finally {
      await this.#caches.settled()
    }
  }

  /**
   * Restores what transactions changed, and settles what follows from it.
   * @param changed receives the restored objects.
   */
  async #revert(range: UndoRange, changed: ChangedObjects): Promise<void> {
    const { live, writeBack } = this.#context
    const { connection } = live
    const { spilling } = this.#store.capabilities
    const view = await MomentView.open(this.#store, connection.at)
    const describe = (later: Tid): Promise<string> => this.#describe(later)
    const { parts, keys: orphans } = await partsOfOrphans(await this.#superblock.orphans())
    const inodes: UndoneInode[] = []
    let waiting: Reversal[] = []
    let bytes = 0
    for await (const part of reversals(this.#store, connection.at, range, describe)) {
      for (const inode of part.inodes) if (!inode.isQuiet) inodes.push(inode)
      for (const reversal of part.objects) {
        if (parts.has(reversal.oid)) continue
        waiting.push(reversal)
        changed.add(reversal.oid)
        bytes += memoryOf(reversal)
      }
      if (bytes < writeBack.dirtyLimitBytes || spilling === undefined) continue
      await connection.storeRecords(waiting.map(({ oid, source, base }) => ({ oid, base, record: source })))
      waiting = []
      bytes = 0
    }
    // Without a pause up to here, so that no read sees some of the objects restored and others not.
    connection.showStored(changed.oids())
    for (const { oid, className, source, base } of waiting) connection.putRecord(oid, className, source, base)
    connection.invalidate(waiting.map(({ oid }) => oid))
    for (const node of live.nodes) {
      if (changed.has(node.oid)) node.revert(node.isOrphan)
      node.file = undefined
    }
    const about = { context: this.#context, superblock: this.#superblock, view }
    const conflicts = await new UndoneNames({ ...about, inodes, changed, orphans }).apply()
    if (conflicts.size > 0) throw await clash(this.#store, range, conflicts, describe)
  }

  /**
   * Makes an independent copy of a path as of a moment at `to`. An existing file keeps its inode; without `replaces` it is an error.
   * @throws StoreError, ErrnoError
   */
  async restoreAs(path: string, when: string, to: string, replaces: boolean, by?: Caller): Promise<Tid> {
    return await this.#graft(path, when, to, `restore ${text(to)} as of ${when}`, replaces, by)
  }

  /**
   * Makes paths what they were at a moment, as one transaction; '' is the whole tree. What was not there then is removed if
   * `deletes`, else it stays. Resolves to the last transaction if there was nothing to do.
   * @throws StoreError, ErrnoError; then everything since the beginning is rolled back.
   */
  async restore(paths: readonly string[], when: string, deletes: boolean, by?: Caller): Promise<Tid> {
    const context = this.#context
    const { transactions } = context.writeBack
    return await this.#withMoment(when, async view => {
      for (const path of paths)
        if (!deletes && (await view.find(path)) === undefined) throw neverWas(path, view.at)
      await transactions.begin()
      const steps: RestoreStep[] = []
      try {
        const range = { now: context.live.connection.committedAt, at: view.at, paths, deletes }
        for await (const step of restoreSteps(this.#store, range)) steps.push(step)
        const caller = by ?? { ...processOwner(), pid: process.pid }
        await new TreeRestore(context, view, paths, caller).apply(steps)
        if (by !== undefined && steps.length > 0) context.writeBack.noteWriter(by, false)
      } catch (error) {
        await this.rollBack()
        throw error
      }
      const names = paths.map(text).join(', ').slice(0, NAMES_MAX_LENGTH)
      const tid = await this.commit(steps.length === 0 ? undefined : `restore ${names} as of ${when}`)
      await this.#invalidateAll()
      return tid
    })
  }

  /** Makes an independent copy, as of `at` or now, that shares all bytes; in an existing directory under the source's name. */
  async clone(source: string, target: string, at?: string, by?: Caller): Promise<Tid> {
    this.#context.writeBack.transactions.assertNotOpen()
    const now = await this.#context.writeBack.sync()
    const view = await MomentView.of(this.#context.live.connection)
    const existing = await view.find(target)
    const name = partsOf(source).at(-1) ?? ''
    const to = existing !== undefined && isDirectory(existing) ? `${target}/${name}` : target
    return await this.#graft(
      source,
      at ?? formatTid(now),
      to,
      `clone ${text(source)} as ${text(to)}`,
      false,
      by,
    )
  }

  /** Opens a transaction: nothing is stored until {@link History.commit} or {@link History.rollBack}. @throws StoreError */
  async begin(): Promise<void> {
    await this.#context.writeBack.transactions.begin()
  }

  /**
   * @throws StoreError; then everything since {@link History.begin} is rolled back, and another transaction may be open already: it is
   *   not the caller's to roll back.
   */
  async commit(message?: string): Promise<Tid> {
    try {
      return await this.#context.writeBack.transactions.end(message)
    } catch (error) {
      await this.#invalidateAll()
      throw error
    }
  }

  /** Drops everything since {@link History.begin}, also from the kernel's caches. */
  async rollBack(): Promise<void> {
    await this.#context.writeBack.transactions.rollBack()
    await this.#invalidateAll()
  }

  async #invalidateAll(): Promise<void> {
    this.#caches.invalidateTree(this.#context.live)
    await this.#caches.settled()
  }

  /** As Transactions.isolate; `by` made the changes. */
  async #isolate(by: Caller | undefined, message: string, work: () => Promise<void>): Promise<Tid> {
    const { writeBack } = this.#context
    return await writeBack.transactions.isolate(message, async () => {
      if (by !== undefined) writeBack.noteWriter(by, false)
      await work()
    })
  }

  async #heldTags(): Promise<readonly StoredTag[]> {
    const tags: StoredTag[] = []
    for await (const tag of this.#superblock.allTags()) if (tag.isHeld) tags.push(tag)
    return tags
  }

  /** Runs `work` with the tree of a moment, which stays open meanwhile. @throws StoreError (no-moment) */
  async #withMoment<T>(when: string, work: (view: MomentView) => Promise<T>): Promise<T> {
    this.#context.writeBack.transactions.assertNotOpen()
    const context = this.#context
    const tree = await context.views.find(when)
    if (tree === undefined) throw new StoreError(`there is no moment '${when}'`, { code: 'no-moment' })
    try {
      await context.views.attach(tree)
      return await work(await MomentView.of(tree.connection))
    } finally {
      context.leave(tree.root)
    }
  }

  async #graft(
    path: string,
    when: string,
    to: string,
    message: string,
    replaces: boolean,
    by: Caller | undefined,
  ): Promise<Tid> {
    const context = this.#context
    return await this.#withMoment(when, async view => {
      const source = await view.find(path)
      if (source === undefined || source.oid === view.rootOid) throw neverWas(path, view.at)
      const target = await this.#target(to, source, replaces)
      const copy = await new Graft(context, view).copy(source)
      try {
        if (target.existing === undefined) await enterCopy(context, copy, target)
        else await replaceByCopy(context, target.existing, copy)
      } finally {
        context.leave(copy.node)
      }
      if (by !== undefined) context.writeBack.noteWriter(by, false)
      const tid = await context.writeBack.sync(message)
      await this.#caches.settled()
      return tid
    })
  }

  /** The place for a copy. @throws StoreError if it is taken. */
  async #target(
    path: string,
    source: Inode,
    replaces: boolean,
  ): Promise<{ readonly directory: Oid; readonly name: string; readonly existing: Oid | undefined }> {
    const view = await MomentView.of(this.#context.live.connection)
    const parts = partsOf(path)
    const name = parts.at(-1)
    const directory = await view.find(parts.slice(0, -1).join('/'))
    if (name === undefined || directory === undefined || !isDirectory(directory))
      throw new StoreError(`${text(path)} has no parent directory: create it first`, { code: 'no-path' })
    const { oid } = directory
    checkNewName(toName(name))
    const existing = await view.find(path)
    await source.activate()
    if (existing !== undefined && !(replaces && isRegular(existing) && isRegular(source)))
      throw new StoreError(`${text(path)} exists already: choose another name, or move it away first`, {
        code: 'path-exists',
      })
    return { directory: oid, name, existing: existing?.oid }
  }

  /** A transaction and its files, in one line. */
  async #describe(tid: Tid): Promise<string> {
    const range = { after: toTid(tid - 1n), upTo: tid, names: FILES_NAMED }
    for await (const { changes, fileCount } of log(this.#store, range)) {
      const named = changes.map(({ path }) => text(path)).join(', ')
      return `${formatTid(tid)}  ${named}${fileCount > FILES_NAMED ? ` and ${fileCount - FILES_NAMED} more` : ''}`
    }
    return formatTid(tid)
  }

  async #moment(when: string): Promise<Tid> {
    return await resolveMoment(this.#store, when, name => this.#superblock.tag(name))
  }
}

/** @throws StoreError */
function assertTagName(name: string): void {
  const isUsable = name !== '' && name.length <= TAG_MAX_BYTES && !/[/\0\n]/.test(name) && name !== 'now'
  if (isUsable && 'tag' in parseMoment(name, 0)) return
  throw new StoreError(
    `'${text(name)}' cannot be a tag: it reads as another moment, is too long, or contains a '/'`,
    { code: 'usage' },
  )
}

const noTag = (name: string): StoreError =>
  new StoreError(`there is no tag ${text(name)}`, { code: 'no-tag' })

const held = (name: string): StoreError =>
  new StoreError(`the tag ${text(name)} is held`, { code: 'tag-held', path: text(name) })

const neverWas = (path: string, at: Tid): StoreError =>
  new StoreError(`${text(path)} did not exist at ${formatTid(at)}`, { code: 'no-path' })

/** A path as text. */
const text = (path: string): string => textOfStored(path) || '/'
