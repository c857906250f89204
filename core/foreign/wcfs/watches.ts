/**
 * Isolation of clients that map files of `head/`: each watches files as of a transaction, and reads the blocks that have changed since
 * then from `@<tid>/` instead.
 *
 * Invariant: a block of `head/` that differs from a watch's moment is pinned, with the client's acknowledgement, before any page of it
 * is served. So:
 *
 * - {@link Watches.watch} answers when every block is pinned that differs between the moment and the head, and when the kernel has dropped
 *   all pages that are older than the head.
 * - {@link Watches.beforeRead} pins the blocks of a read, and waits, before the read is served.
 *
 * A read waits while no lock is held, since a client may need a while: if the head moves meanwhile, the blocks are looked up again.
 */
import type { Logger } from 'pino'
import { setTimeout as sleep } from 'node:timers/promises'
import { blockParts } from '../../big-file/block-parts.ts'
import { Ref } from '../../objects/pickle/value.ts'
import type { Connection } from '../../objects/connection.ts'
import { formatOid, formatTid, parseOid, parseTid, type Oid, type Tid } from '../../../store/ids.ts'
import { messageOf, ObjectNotFoundError, StoreError } from '../../../store/errors.ts'
import type { LiveView } from '../file-system/live-view.ts'
import type { View } from '../file-system/view.ts'
import { openForeignFile, type ForeignFile } from '../file.ts'
import { WatchLink } from './watch-link.ts'

/** WCFS's default. */
export const PIN_TIMEOUT_MS = 30_000
/** Maximum number of files that one client watches. */
const WATCHES_MAX = 10_000
/** Maximum number of pinned blocks of one watch. */
const PINS_MAX = 100_000
/** Pins whose acknowledgement is awaited at once. */
const PINS_AT_ONCE = 64
const HEAD_POLL_MS = 20

/** A moment that stays in use until it is released. */
export interface HeldView {
  readonly view: View
  release(): void
}

export interface WatchesParts {
  readonly live: LiveView
  readonly hold: (at: Tid) => HeldView
  /** Resolves when the kernel has dropped all pages that are older than the live view. */
  readonly settled: () => Promise<void>
  readonly log: Logger
  readonly pinTimeoutMs?: number | undefined
}

interface Watch {
  readonly link: WatchLink
  readonly file: Oid
  held: HeldView
  /** The blocks that the client reads at the watch's moment; each resolves when it has acknowledged that. */
  readonly pins: Map<number, Promise<void>>
  /** The last change of the moment: they run one after the other. */
  change: Promise<unknown>
}

export class Watches {
  readonly #parts: WatchesParts
  readonly #byFile = new Map<Oid, Set<Watch>>()
  readonly #byLink = new Map<WatchLink, Map<Oid, Watch>>()

  constructor(parts: WatchesParts) {
    this.#parts = parts
  }

  /** A channel to a client. @param pid its process. */
  open(pid: number): WatchLink {
    const { pinTimeoutMs = PIN_TIMEOUT_MS, log } = this.#parts
    const requests = {
      handle: (from: WatchLink, request: string) => this.watch(from, request),
      ended: (from: WatchLink) => this.#drop(from),
    }
    const link = new WatchLink(pid, requests, pinTimeoutMs, log)
    this.#byLink.set(link, new Map())
    return link
  }

  /** Ends every channel. */
  close(): void {
    for (const link of this.#byLink.keys()) link.end()
  }

  /** Sets up, moves or ends a watch. @throws StoreError, whose message begins as that of WCFS. */
  async watch(link: WatchLink, request: string): Promise<void> {
    const [, name = '', moment = ''] = /^watch ([0-9a-f]{16}) (-|@[0-9a-f]{16})$/.exec(request) ?? []
    const file = parseOid(name)
    if (file === undefined) throw new StoreError(`bad watch: not a watch request: "${request}"`)
    const watches = this.#byLink.get(link)
    if (watches === undefined) return
    const known = watches.get(file)
    if (moment === '-') {
      if (known !== undefined) this.#end(watches, known)
      return
    }
    const at = parseTid(moment.slice(1))
    if (at === undefined) throw new StoreError(`${moment} is not a transaction`)
    try {
      await this.#reach(link, at)
      if (link.isEnded) return
      if (known === undefined) await this.#begin(link, watches, file, at)
      else await (known.change = known.change.catch(() => undefined).then(() => this.#move(known, at)))
    } catch (cause) {
      throw new StoreError(`setup watch f<${name}> ${moment}: ${messageOf(cause)}`, { cause })
    }
  }

  /** Pins the blocks of a read; resolves to the moment of the head as of which they may be served. */
  async beforeRead(file: Oid, off: bigint, len: number): Promise<Tid> {
    for (;;) {
      const { live } = this.#parts
      const { at } = live
      const watches = [...(this.#byFile.get(file) ?? [])]
      await Promise.all(watches.map(watch => watch.change.catch(() => undefined)))
      await Promise.all(watches.map(watch => this.#pinChanged(watch, off, len)))
      if (live.at === at) return at
    }
  }

  async #reach(link: WatchLink, at: Tid): Promise<void> {
    const { live, settled } = this.#parts
    await live.refresh()
    while (live.at < at && !link.isEnded) {
      await sleep(HEAD_POLL_MS)
      await live.refresh()
    }
    await settled()
  }

  async #begin(link: WatchLink, watches: Map<Oid, Watch>, file: Oid, at: Tid): Promise<void> {
    if (watches.size >= WATCHES_MAX) throw new StoreError(`a client watches at most ${WATCHES_MAX} files`)
    const held = this.#parts.hold(at)
    const watch: Watch = { link, file, held, pins: new Map(), change: Promise.resolve() }
    // From now on reads pin what they serve; what the kernel has already is pinned here.
    watches.set(file, watch)
    const ofFile = this.#byFile.get(file) ?? new Set()
    this.#byFile.set(file, ofFile.add(watch))
    watch.change = this.#pinAll(watch)
    try {
      await watch.change
    } catch (error) {
      this.#end(watches, watch)
      throw error
    }
  }

  /** Moves a watch forward: pins follow it, or end where the head is the same. */
  async #move(watch: Watch, at: Tid): Promise<void> {
    const { held, pins, link, file } = watch
    if (at < held.view.at)
      throw new StoreError(`going back in history is forbidden: the watch is at @${formatTid(held.view.at)}`)
    if (at === held.view.at || link.isEnded) return
    const next = this.#parts.hold(at)
    held.release()
    watch.held = next
    const blocks = [...pins.keys()].toSorted((a, b) => a - b)
    pins.clear()
    for (let i = 0; i < blocks.length; i += PINS_AT_ONCE) {
      const part = blocks.slice(i, i + PINS_AT_ONCE)
      const changed = new Set(await this.#changedOf(watch, part))
      await Promise.all(
        part.map(blk => (changed.has(blk) ? this.#pin(watch, blk) : link.pin(pinMessage(file, blk, 'head')))),
      )
    }
  }

  /** Pins every block that differs between the watch's moment and the head. */
  async #pinAll(watch: Watch): Promise<void> {
    // The file must exist then.
    const { held, file } = watch
    await held.view.use(async connection => await openForeignFile(connection, file))
    if (held.view.at === this.#parts.live.at) return
    for (let from = 0; !watch.link.isEnded;) {
      const blocks = await this.#blocksFrom(watch, from)
      const last = blocks.at(-1)
      if (last === undefined) return
      from = last + 1
      const changed = await this.#changedOf(watch, blocks)
      await Promise.all(changed.map(blk => this.#pin(watch, blk)))
    }
  }

  async #pinChanged(watch: Watch, off: bigint, len: number): Promise<void> {
    const { live } = this.#parts
    if (watch.link.isEnded || watch.held.view.at === live.at) return
    const blocks = await live.use(async connection => {
      const file = await fileAt(connection, watch.file)
      return file === undefined ? [] : blocksOf(file, off, len)
    })
    const pinned = blocks.map(blk => watch.pins.get(blk))
    const changed = await this.#changedOf(
      watch,
      blocks.filter(blk => !watch.pins.has(blk)),
    )
    await Promise.all([...pinned, ...changed.map(blk => this.#pin(watch, blk))])
  }

  #pin(watch: Watch, blk: number): Promise<void> {
    const { link, file, pins, held } = watch
    const known = pins.get(blk)
    if (known !== undefined) return known
    if (pins.size >= PINS_MAX)
      throw new StoreError(
        `too far away back from head/at: more than ${PINS_MAX} blocks have changed since @${formatTid(held.view.at)}`,
      )
    const pin = link.pin(pinMessage(file, blk, formatTid(held.view.at)))
    pins.set(blk, pin)
    return pin
  }

  /** About {@link PINS_AT_ONCE} blocks from `from` on that exist at the watch's moment or at the head, ascending. */
  async #blocksFrom({ held, file }: Watch, from: number): Promise<readonly number[]> {
    const find = async (connection: Connection): Promise<readonly number[]> => {
      const tree = (await fileAt(connection, file))?.object.blktab
      return tree === undefined ? [] : (await tree.batch({ lo: from, after: false }, PINS_AT_ONCE)).keys
    }
    const [before, after] = [await held.view.use(find), await this.#parts.live.use(find)]
    // A list may end early: beyond its last block it says nothing.
    const ends = [before, after].flatMap(keys => keys.at(-1) ?? [])
    const end = Math.min(...ends)
    return [...new Set([...before, ...after])].filter(blk => blk <= end).toSorted((a, b) => a - b)
  }

  /** The blocks that are other objects, or of other transactions, at the watch's moment and at the head. */
  async #changedOf({ held, file }: Watch, blocks: readonly number[]): Promise<readonly number[]> {
    if (blocks.length === 0) return []
    const states = (connection: Connection): Promise<readonly string[]> => statesOf(connection, file, blocks)
    const before = await held.view.use(states)
    const after = await this.#parts.live.use(states)
    return blocks.filter((_, i) => before[i] !== after[i])
  }

  #drop(link: WatchLink): void {
    const watches = this.#byLink.get(link)
    this.#byLink.delete(link)
    for (const watch of watches?.values() ?? []) this.#end(watches, watch)
  }

  #end(watches: Map<Oid, Watch> | undefined, watch: Watch): void {
    const { file, held } = watch
    if (watches?.get(file) !== watch) return
    watches.delete(file)
    const ofFile = this.#byFile.get(file)
    ofFile?.delete(watch)
    if (ofFile?.size === 0) this.#byFile.delete(file)
    held.release()
  }
}

const pinMessage = (file: Oid, blk: number, rev: string): string => `pin ${formatOid(file)} #${blk} @${rev}`

/** The blocks of bytes `[off, off + len)`, cut at the file's end. */
function blocksOf({ data, size }: ForeignFile, off: bigint, len: number): readonly number[] {
  const wanted = off >= size ? 0 : Number(size - off < BigInt(len) ? size - off : BigInt(len))
  return blockParts(off, wanted, data.blksize).map(({ blk }) => blk)
}

/** A file; undefined if there is none. */
async function fileAt(connection: Connection, file: Oid): Promise<ForeignFile | undefined> {
  try {
    return await openForeignFile(connection, file)
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return undefined
    throw error
  }
}

/** What each block is: the object and the transaction that wrote it; '' for a hole. wendelin.core writes a block's record with each of its chunks. */
async function statesOf(
  connection: Connection,
  oid: Oid,
  blocks: readonly number[],
): Promise<readonly string[]> {
  const file = await fileAt(connection, oid)
  const states: string[] = []
  for (const blk of blocks) {
    await file?.object.activate()
    const ref = await file?.object.blktab.get(blk)
    const part = ref instanceof Ref ? await connection.records.start(ref.oid, 1) : undefined
    states.push(ref instanceof Ref && part !== undefined ? `${ref.oid}@${part.tid}` : '')
  }
  return states
}
