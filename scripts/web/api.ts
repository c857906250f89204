/**
 * The requests of the page. Every answer is bounded, whatever the database contains: a list that is cut says so.
 *
 * Paths are JSON strings, because names that are not UTF-8 (core/os-text) cannot stand in a URL otherwise. Moments are tids; without one
 * the last transaction is meant.
 */
import { blockAges } from '../../core/history/block-ages.ts'
import { patch } from '../../core/history/patch.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { fileSizes } from '../../core/pack/file-sizes.ts'
import { decodedPath } from '../../core/printable.ts'
import { storedPath, textOfStored } from '../../core/stored-names.ts'
import { open, type Change, type Database, type Dirent, type Files, type Stats } from '../../index.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import type { MountStats } from '../../mount/daemon/mount-stats.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { servingMount } from '../../mount/daemon/serving-mount.ts'
import { formatTid, parseTid, tid as toTid, type Tid } from '../../store/ids.ts'
import { timelineOf } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'
import type { Timeline } from '../../store/timeline.ts'
import { UsageError } from '../failure.ts'
import { ratesBetween } from '../monitor/rates.ts'
import type * as Answers from './answers.ts'
import { TransactionIntervals } from './transaction-intervals.ts'

const TRANSACTIONS_MAX = 200
const FILES_SHOWN = 20
const ENTRIES_MAX = 2000
const CHANGES_MAX = 500
const RANGES_SHOWN = 100
const CELLS_MAX = 4096
const INTERVALS_MAX = 2000
const LINES_MAX = 5000
const LARGEST_MAX = 200
/** Files whose sizes are summed for the list of the largest. */
const SUMMED_MAX = 200_000
const STATUS_TIMEOUT_MS = 2000

/** The parameters of a request. */
export type Parameters = ReadonlyMap<string, string>

/** The queries, by the names of their methods. What may take long ends with `signal`. */
export type Query =
  'info' | 'moment' | 'timeline' | 'log' | 'list' | 'file' | 'diff' | 'patch' | 'usage' | 'live'

export class Api {
  readonly #store: Store
  readonly #db: Database
  readonly #intervals: TransactionIntervals
  /** The last figures of the mount. */
  #stats: MountStats | undefined

  /** @param db the same database as `store`, read-only. */
  constructor(store: Store, db: Database) {
    this.#store = store
    this.#db = db
    this.#intervals = new TransactionIntervals(store)
  }

  async info(): Promise<Answers.Info> {
    const { measuring } = this.#store.capabilities
    const space = await measuring?.space()
    const mount = await servingMount(this.#store.name)
    const tags: Answers.Tag[] = []
    for await (const tag of this.#db.tags()) {
      if (tags.push(tag) === TRANSACTIONS_MAX) break
    }
    return {
      name: this.#store.name,
      ...(await this.#moment(await this.#store.lastTid())),
      tags,
      totalBytes: space?.totalBytes ?? 0,
      freeBytes: space?.freeBytes ?? 0,
      ...(mount !== undefined && { mount: mount.mountPoint }),
    }
  }

  /** The moment that a text names: a tid, time, age or tag. */
  async moment(parameters: Parameters): Promise<Answers.Moment> {
    return await this.#moment(tidOf(await this.#db.resolve(required(parameters, 'when'))))
  }

  async timeline(parameters: Parameters): Promise<Answers.Intervals> {
    const count = Math.min(INTERVALS_MAX, integer(parameters, 'count') ?? 400)
    return await this.#intervals.intervals(
      Math.max(1, count),
      integer(parameters, 'from'),
      integer(parameters, 'to'),
    )
  }

  /** Transactions before a time or a tid, newest first. */
  async log(parameters: Parameters, signal: AbortSignal): Promise<Answers.Log> {
    const before = parameters.get('before')
    const path = pathIn(parameters)
    const end = integer(parameters, 'untilTime')
    const upTo = before === undefined ? undefined : previous(tidOf(before))
    const last = upTo ?? (end === undefined ? undefined : (await timelineOf(this.#store)).upTo(end))
    const until = last === undefined ? undefined : formatTid(last)
    const transactions: Answers.Transaction[] = []
    const options = { limit: TRANSACTIONS_MAX + 1, path, signal, ...(until !== undefined && { until }) }
    for await (const { tid, time, message, changes, fileCount, bytes } of this.#db.log(options))
      transactions.push({
        tid,
        time: time.getTime(),
        message,
        files: changes.slice(0, FILES_SHOWN).map(({ path }) => path),
        fileCount,
        bytes,
      })
    const isCut = transactions.length > TRANSACTIONS_MAX
    return { transactions: transactions.slice(0, TRANSACTIONS_MAX), isCut }
  }

  async list(parameters: Parameters, signal: AbortSignal): Promise<Answers.Listing> {
    const moment = await this.#at(parameters)
    const files = this.#db.at(moment.tid)
    const path = pathIn(parameters)
    const filter = parameters.get('filter') ?? ''
    const entries: Answers.Entry[] = []
    let isCut = false
    for await (const dirent of files.opendir(`/${path}`)) {
      signal.throwIfAborted()
      if (!dirent.name.includes(filter)) continue
      if (entries.length === ENTRIES_MAX) {
        isCut = true
        break
      }
      const stats = await files.lstat(join(path, dirent.name)).catch(() => undefined)
      entries.push(asEntry(dirent, stats))
    }
    entries.sort(
      (a, b) => Number(b.type === 'directory') - Number(a.type === 'directory') || compare(a.name, b.name),
    )
    return { ...moment, entries, isCut }
  }

  /** A file's attributes and the ages of its blocks. */
  async file(parameters: Parameters): Promise<Answers.FileDetails> {
    const moment = await this.#at(parameters)
    const timeline = await timelineOf(this.#store)
    const path = pathIn(parameters)
    const stats = await this.#db.at(moment.tid).lstat(`/${path}`)
    const view = await MomentView.open(this.#store, tidOf(moment.tid))
    const inode = await view.find(storedPath(path))
    const count = Math.min(CELLS_MAX, integer(parameters, 'cells') ?? 1024)
    const lo = BigInt(Math.max(0, integer(parameters, 'from') ?? 0))
    const hi = integer(parameters, 'to')
    const range = { lo, hi: hi === undefined ? stats.sizeExact : BigInt(hi), count: Math.max(1, count) }
    const ages =
      inode === undefined || !stats.isFile() ? undefined : await blockAges(this.#store, view, inode, range)
    return {
      ...moment,
      type: typeOf(stats),
      mode: stats.mode,
      size: stats.size,
      storedBytes: stats.blocks * 512,
      mtime: stats.mtimeMs,
      blksize: ages?.blksize ?? 0,
      cells: (ages?.cells ?? []).map(({ lo, hi, tid, isSampled }) => ({
        lo,
        hi,
        isSampled,
        ...(tid !== undefined && momentOf(tid, timeline)),
      })),
    }
  }

  async diff(parameters: Parameters, signal: AbortSignal): Promise<Answers.Differences> {
    const changes: Answers.Change[] = []
    const progress = (): void => {
      signal.throwIfAborted()
    }
    const [a, b] = [required(parameters, 'a'), required(parameters, 'b')]
    for await (const change of this.#db.diff(a, b, { path: pathIn(parameters), progress })) {
      if (changes.length === CHANGES_MAX) return { changes, isCut: true }
      changes.push(asChange(change))
    }
    return { changes, isCut: false }
  }

  /** How a file differs between two moments, as `git diff` prints it; `from` is its earlier path. */
  async patch(parameters: Parameters, signal: AbortSignal): Promise<Answers.Patch> {
    const path = storedPath(pathIn(parameters))
    const from = parameters.has('from') ? storedPath(pathIn(parameters, 'from')) : path
    const [before, after] = [await this.#view(parameters, 'a'), await this.#view(parameters, 'b')]
    const lines: string[] = []
    for await (const line of patch(this.#store, before, after, { kind: 'changed', path, from })) {
      signal.throwIfAborted()
      if (lines.length === LINES_MAX) return { lines, isCut: true }
      lines.push(textOfStored(line))
    }
    return { lines, isCut: false }
  }

  /** The largest files of the present state. */
  async usage(_parameters: Parameters, signal: AbortSignal): Promise<Answers.Usage> {
    const files: Answers.FileUsage[] = []
    let count = 0
    for await (const { path, sizeBytes, storedBytes } of fileSizes(this.#store)) {
      signal.throwIfAborted()
      if (++count > SUMMED_MAX) break
      files.push({ path: decodedPath(path), sizeBytes: Number(sizeBytes), storedBytes })
      if (files.length > 2 * LARGEST_MAX) cutToLargest(files)
    }
    cutToLargest(files)
    const sums = await this.#store.capabilities.measuring?.sums()
    return {
      files,
      count,
      isCut: count > SUMMED_MAX,
      revisionsBytes: sums === undefined ? 0 : sums.all.rowBytes + sums.all.bulkBytes,
    }
  }

  /** What the mount has done since the last call, if one serves the database. */
  async live(): Promise<Answers.Live> {
    const mount = await servingMount(this.#store.name)
    const tid = formatTid(await this.#store.lastTid())
    if (mount === undefined) return { tid }
    const paths = await controlPaths(mount.device, ownerOf(mount))
    const stats = await callDaemon(paths, 'stats', {}, STATUS_TIMEOUT_MS)
    const { requests, readBytes, writtenBytes, storedBytes } = ratesBetween(this.#stats, stats)
    this.#stats = stats
    return {
      tid,
      directory: mount.mountPoint,
      rates: { requests, readBytes, writtenBytes, storedBytes },
      residentBytes: stats.residentBytes,
      unstoredBytes: stats.fileSystem?.dirtyBytes ?? 0,
      ...(stats.failure !== undefined && { failure: stats.failure }),
    }
  }

  /** A change of the database, by its name. @returns the transaction. */
  async change(name: string, values: Readonly<Record<string, unknown>>): Promise<{ readonly tid: string }> {
    const text = (key: string): string => {
      const value = values[key]
      if (typeof value !== 'string') throw new UsageError(`'${key}' is missing`)
      return value
    }
    const db = await open(this.#store.name)
    try {
      switch (name) {
        case 'restore':
          return { tid: await db.restore(text('path'), text('at'), 'to' in values ? { to: text('to') } : {}) }
        case 'clone':
          return { tid: await db.clone(text('path'), text('to'), { at: text('at') }) }
        case 'tag':
          return { tid: await db.tag(text('name'), { at: text('at') }) }
        case 'undo':
          return { tid: await db.undo(text('tid')) }
        default:
          throw new UsageError(`there is no change '${name}'`)
      }
    } finally {
      await db.close()
    }
  }

  /** The files of the moment of a request. */
  async filesAt(parameters: Parameters): Promise<Files> {
    return this.#db.at((await this.#at(parameters)).tid)
  }

  async #at(parameters: Parameters): Promise<Answers.Moment> {
    const at = parameters.get('at')
    return await this.#moment(at === undefined ? await this.#store.lastTid() : tidOf(at))
  }

  async #view(parameters: Parameters, key: string): Promise<MomentView> {
    return await MomentView.open(this.#store, tidOf(required(parameters, key)))
  }

  async #moment(tid: Tid): Promise<Answers.Moment> {
    return momentOf(tid, await timelineOf(this.#store))
  }
}

function cutToLargest(files: Answers.FileUsage[]): void {
  files.sort((a, b) => b.storedBytes - a.storedBytes)
  files.length = Math.min(files.length, LARGEST_MAX)
}

const momentOf = (tid: Tid, timeline: Timeline): Answers.Moment => ({
  tid: formatTid(tid),
  time: timeline.timeOf(tid),
})

const asEntry = (dirent: Dirent, stats: Stats | undefined): Answers.Entry => ({
  name: dirent.name,
  type: typeOf(dirent),
  ...(stats !== undefined && { size: stats.size, mtime: stats.mtimeMs, storedBytes: stats.blocks * 512 }),
})

const asChange = ({
  kind,
  path,
  from,
  ranges,
  sizeBefore,
  sizeAfter,
  attributes,
}: Change): Answers.Change => ({
  kind,
  path,
  attributes,
  ranges: ranges.slice(0, RANGES_SHOWN).map(({ start, end }) => [Number(start), Number(end)]),
  rangeCount: ranges.length,
  ...(from !== undefined && { from }),
  ...(sizeBefore !== undefined && { sizeBefore: Number(sizeBefore) }),
  ...(sizeAfter !== undefined && { sizeAfter: Number(sizeAfter) }),
})

function typeOf(typed: Dirent | Stats): Answers.FileType {
  if (typed.isDirectory()) return 'directory'
  if (typed.isFile()) return 'file'
  return typed.isSymbolicLink() ? 'link' : 'special'
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

const join = (directory: string, name: string): string => `${directory}/${name}`

const previous = (tid: Tid): Tid => toTid(tid > 0n ? tid - 1n : 0n)

/** @throws UsageError */
function tidOf(text: string): Tid {
  const tid = parseTid(text)
  if (tid === undefined) throw new UsageError(`${text} is not a tid: it has 16 hex digits`)
  return tid
}

/** @throws UsageError */
function integer(parameters: Parameters, key: string): number | undefined {
  const text = parameters.get(key)
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new UsageError(`'${key}' is not a whole number`)
  return value
}

/** @throws UsageError */
function required(parameters: Parameters, key: string): string {
  const value = parameters.get(key)
  if (value === undefined) throw new UsageError(`'${key}' is missing`)
  return value
}

/** The path of a request; the root if there is none. @throws UsageError */
export function pathIn(parameters: Parameters, key = 'path'): string {
  const text = parameters.get(key)
  if (text === undefined) return ''
  try {
    const path: unknown = JSON.parse(text)
    if (typeof path === 'string') return path
  } catch {
    // Reported below.
  }
  throw new UsageError(`'${key}' is not a JSON string`)
}
