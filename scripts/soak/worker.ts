/**
 * One of the processes of a soak run: `node worker.ts DIR NAME KIND HISTORY_MS`, with an IPC channel to the parent.
 *
 * It changes files in DIR/NAME, an existing directory that no other process uses, and keeps a model of it. From time to
 * time it compares the directory with the model, remembers a moment, and checks a remembered moment. It stops when the mount
 * dies, and reports to the parent on request which of its operations were preserved.
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode } from '../../store/errors.ts'
import { hashPaths, hashTree, perform } from '../../test/crash/workload.ts'
import { TreeModel } from '../../test/crash/tree-model.ts'
import { Random } from '../../test/stress/random.ts'
import { callMount, findMount } from '../find-mount.ts'
import { Journal, monotonicMs, type Kept } from './journal.ts'
import { next, type Kind } from './operations.ts'

/** Requests of the parent. */
export type Ask =
  /** Work until the next `pause`, or until the mount dies. */
  | { readonly ask: 'work'; readonly seed: number }
  /** Has no separate answer: `work` answers. */
  | { readonly ask: 'pause' }
  /** Report the preserved operations; all that had returned at this time were synced. */
  | { readonly ask: 'look'; readonly syncedMs: number }
  /** Compare: no operation may be missing. */
  | { readonly ask: 'compare' }

/** How `work` ended. */
export interface Worked {
  readonly operations: number
  readonly bytesWritten: number
  readonly looks: number
  readonly momentsRead: number
  /** When the last fsync that returned began; 0 if there was none. */
  readonly syncedMs: number
  /** The mount's error when it died; absent if it did not. */
  readonly died?: string
}

export interface Failed {
  readonly failed: string
}

/** A file's operation on a mount that died fails with one of these; below the empty mount point, with ENOENT. */
const DEAD = new Set(['ENOTCONN', 'ECONNABORTED', 'EIO', 'ENODEV', 'EINTR', 'ENOENT'])
const LOOK_EVERY = 400
const MOMENT_EVERY = 150
const MOMENTS_MAX = 20
const SYNC_MS = 60_000
/** A moment younger than this fraction of the history must be kept. */
const KEPT_PART = 0.5

interface Remembered {
  readonly tid: string
  readonly hash: bigint
  readonly timeMs: number
}

class SoakWorker {
  readonly #mount: string
  readonly #name: string
  readonly #kind: Kind
  readonly #historyMs: number
  #journal = new Journal(new TreeModel())
  #moments: Remembered[] = []
  #isPaused = false

  constructor(mount: string, name: string, kind: Kind, historyMs: number) {
    this.#mount = mount
    this.#name = name
    this.#kind = kind
    this.#historyMs = historyMs
  }

  get #root(): string {
    return join(this.#mount, this.#name)
  }

  pause(): void {
    this.#isPaused = true
  }

  async work(seed: number): Promise<Worked> {
    const random = new Random(seed)
    const counts = { operations: 0, bytesWritten: 0, looks: 0, momentsRead: 0, syncedMs: 0 }
    this.#isPaused = false
    try {
      while (!this.#isPaused) {
        const operation = next(this.#kind, this.#journal.model, random)
        this.#journal.begin(operation)
        await perform(this.#root, operation)
        this.#journal.end()
        counts.operations++
        if (operation.kind === 'write') counts.bytesWritten += operation.len
        if (operation.kind === 'sync') {
          counts.syncedMs = this.#journal.settle()
          if (random.below(2) === 0) await this.#remember()
        }
        if (counts.operations % LOOK_EVERY === 0) {
          await this.compare()
          counts.looks++
        }
        if (counts.operations % MOMENT_EVERY === 0 && (await this.#lookBack(random))) counts.momentsRead++
      }
      return counts
    } catch (error) {
      const code = systemCode(error)
      if (code === undefined || !DEAD.has(code)) throw error
      return { ...counts, died: code }
    }
  }

  /** @throws Error if the tree differs from the model. */
  async compare(): Promise<void> {
    const found = await hashTree(this.#root)
    if (found !== this.#journal.model.hash) throw await this.#difference('not what was written')
  }

  /** Continues from the preserved state. */
  async look(syncedMs: number): Promise<Kept> {
    this.#journal.noteSynced(syncedMs)
    const kept = this.#journal.find(await hashTree(this.#root))
    if (kept.count === undefined)
      throw await this.#difference(`none of the trees since operation ${kept.synced}, which was synced`)
    this.#journal.goBack(kept.count)
    return kept
  }

  async #difference(what: string): Promise<Error> {
    const { count, paths } = this.#journal.nearest(await hashPaths(this.#root))
    const { length } = this.#journal
    return new Error(
      `${this.#root} is ${what}; of ${length} operations it is nearest to what it was after ${count}, but differs ` +
        `in ${paths.join(', ')}. The operations around that:\n` +
        this.#journal.describe(count - 5, count + 5),
    )
  }

  /** Makes a moment of the present state: an fsync would not make one. */
  async #remember(): Promise<void> {
    let tid: string
    try {
      ;({ tid } = await callMount(findMount(this.#mount), 'sync', {}, SYNC_MS))
    } catch {
      // The daemon has died: the next operation reports it.
      await stat(this.#root)
      return
    }
    this.#moments.push({ tid, hash: this.#journal.model.hash, timeMs: monotonicMs() })
    if (this.#moments.length > MOMENTS_MAX) this.#moments.shift()
  }

  /** Whether a moment was checked. */
  async #lookBack(random: Random): Promise<boolean> {
    const youngMs = monotonicMs() - this.#historyMs * KEPT_PART
    this.#moments = this.#moments.filter(({ timeMs }) => timeMs > youngMs)
    const moment = this.#moments[random.below(this.#moments.length)]
    if (moment === undefined) return false
    const root = join(this.#mount, `@${moment.tid}`, this.#name)
    const what = `${root}, ${Math.round(monotonicMs() - moment.timeMs)} ms ago,`
    const hash = await hashTree(root).catch(async (error: unknown) => {
      // It may be missing only if the mount is dead.
      await stat(this.#root)
      throw new Error(`${what} cannot be read: ${String(error)}`)
    })
    if (hash !== moment.hash) throw new Error(`${what} is not what was there`)
    return true
  }
}

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : '')

async function answer(worker: SoakWorker, ask: Exclude<Ask, { readonly ask: 'pause' }>): Promise<object> {
  if (ask.ask === 'work') return await worker.work(ask.seed)
  if (ask.ask === 'look') return await worker.look(ask.syncedMs)
  await worker.compare()
  return {}
}

function main(): void {
  const [mount, name, kind, historyMs] = process.argv.slice(2)
  if (mount === undefined || name === undefined || (kind !== 'small' && kind !== 'bulk'))
    throw new Error('usage: node worker.ts DIR NAME small|bulk HISTORY_MS')
  const worker = new SoakWorker(mount, name, kind, Number(historyMs))
  process.on('message', (ask: Ask) => {
    if (ask.ask === 'pause') return worker.pause()
    answer(worker, ask).then(
      reply => process.send?.(reply),
      (error: unknown) => process.send?.({ failed: describe(error) } satisfies Failed),
    )
  })
  // Exit with the parent.
  process.on('disconnect', () => process.exit())
}

if (import.meta.main) main()
