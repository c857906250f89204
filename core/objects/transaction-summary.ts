/**
 * A summary, in a transaction's extension, of the inodes that it changed and of the processes that changed them, so that a log
 * of transactions reads no revisions:
 *
 *     {'zblkfs': {'files': n, 'directories': n, 'inodes': [oid, ...], 'removed': [oid, ...],
 *                 'writers': [[uid, pid, program], ...], 'named': 1}}
 *
 * `files` counts the changed inodes that are not directories, `inodes` has the first {@link INODES_MAX} of all, files first.
 * `removed` has those of `inodes` that were left without a name, `writers` at most {@link WRITERS_MAX} processes. `named`
 * is there if the description is not a message but names files. These three may be absent. A transaction without the first three was copied from another database or made by another program: its revisions must
 * be read.
 */
import { oid as toOid, type Oid } from '../../store/ids.ts'
import type { Persistent } from './persistent.ts'
import { PersistentMapping } from './persistent-mapping.ts'
import { checkDepth } from './pickle/check-value.ts'
import { PickleError } from './pickle/input.ts'
import { PickleReader } from './pickle/reader.ts'
import type { PickleValue } from './pickle/value.ts'
import { PickleWriter } from './pickle/writer.ts'

/** Maximum number of inodes that are named; the others are only counted. */
export const INODES_MAX = 1000

/** Maximum number of processes that are named. */
export const WRITERS_MAX = 8

const KEY = 'zblkfs'

/** A process that made changes. */
export interface Writer {
  readonly uid: number
  readonly pid: number
  /** The name of its program, of up to 15 bytes; empty if unknown. */
  readonly program: string
}

/** How a transaction came about. */
export interface Origin {
  readonly writers: readonly Writer[]
  /** Whether its description was given, rather than made of the names of its files. */
  readonly hasMessage: boolean
}

export interface TransactionSummary {
  readonly files: number
  readonly directories: number
  readonly inodes: readonly Oid[]
  /** Those of `inodes` that were left without a name; undefined if unknown. */
  readonly removed: readonly Oid[] | undefined
}

/** The kind of a changed mapping. */
export type InodeKind = 'file' | 'directory' | 'removed file' | 'removed directory' | 'other'

/** Undefined for an object that is not a mapping. */
export function inodeKindOf(object: Persistent): InodeKind | undefined {
  if (!(object instanceof PersistentMapping)) return undefined
  if (!object.has('mode')) return 'other'
  const isRemoved = object.get('nlink') === 0
  if (object.has('entries')) return isRemoved ? 'removed directory' : 'directory'
  return isRemoved ? 'removed file' : 'file'
}

/** Collects the changed inodes of a transaction. */
export class SummaryDraft {
  readonly #files: Oid[] = []
  readonly #directories: Oid[] = []
  readonly #removed = new Set<Oid>()
  #fileCount = 0
  #directoryCount = 0

  add(oid: Oid, kind: InodeKind): void {
    if (kind === 'other') return
    if (kind === 'removed file' || kind === 'removed directory') this.#removed.add(oid)
    if (kind === 'file' || kind === 'removed file') {
      this.#fileCount++
      if (this.#files.length < INODES_MAX) this.#files.push(oid)
    } else {
      this.#directoryCount++
      if (this.#directories.length < INODES_MAX) this.#directories.push(oid)
    }
  }

  /** The extension of the transaction. */
  encode(origin: Origin): Uint8Array {
    const inodes = [...this.#files, ...this.#directories].slice(0, INODES_MAX)
    return encodeExtension(
      new Map<PickleValue, PickleValue>([
        ['files', this.#fileCount],
        ['directories', this.#directoryCount],
        ['inodes', inodes],
        ['removed', inodes.filter(oid => this.#removed.has(oid))],
        ...originEntries(origin),
      ]),
    )
  }
}

/** The extension of a transaction of which only the origin is known. */
export const extensionOf = (origin: Origin): Uint8Array => encodeExtension(new Map(originEntries(origin)))

const encodeExtension = (summary: Map<PickleValue, PickleValue>): Uint8Array =>
  new PickleWriter().dump(new Map([[KEY, summary]])).bytes()

function originEntries({ writers, hasMessage }: Origin): [PickleValue, PickleValue][] {
  const encoded = writers.slice(0, WRITERS_MAX).map(({ uid, pid, program }) => [uid, pid, program])
  return [['writers', encoded], ...(hasMessage ? [] : [['named', 1] satisfies [string, number]])]
}

/** The summary in a transaction's extension; undefined if there is none. */
export function summaryIn(extension: Uint8Array): TransactionSummary | undefined {
  const summary = decodeExtension(extension)
  if (summary === undefined) return undefined
  const [files, directories, inodes] = ['files', 'directories', 'inodes'].map(key => summary.get(key))
  if (!isCount(files) || !isCount(directories) || !areCounts(inodes)) return undefined
  const removed = summary.get('removed')
  return {
    files,
    directories,
    inodes: inodes.map(toOid),
    removed: areCounts(removed) ? removed.map(toOid) : undefined,
  }
}

/** The origin of a transaction, as far as it is recorded. */
export function originIn(extension: Uint8Array): Origin {
  const summary = decodeExtension(extension)
  return { writers: decodeWriters(summary?.get('writers')), hasMessage: summary?.get('named') !== 1 }
}

function decodeWriters(writers: PickleValue | undefined): readonly Writer[] {
  if (!Array.isArray(writers)) return []
  return writers.flatMap((writer): readonly Writer[] => {
    if (!Array.isArray(writer)) return []
    const [uid, pid, program] = writer as readonly PickleValue[]
    return isCount(uid) && isCount(pid) && typeof program === 'string' ? [{ uid, pid, program }] : []
  })
}

/** Our part of a transaction's extension; undefined if there is none. */
function decodeExtension(extension: Uint8Array): Map<PickleValue, PickleValue> | undefined {
  if (extension.length === 0) return undefined
  const all = decode(extension)
  const summary = all instanceof Map ? all.get(KEY) : undefined
  return summary instanceof Map ? summary : undefined
}

/** Undefined if the extension is not a pickle: another program's may be anything. */
function decode(extension: Uint8Array): PickleValue | undefined {
  try {
    const value = new PickleReader(extension).load()
    checkDepth(value)
    return value
  } catch (error) {
    if (error instanceof PickleError) return undefined
    throw error
  }
}

const isCount = (value: PickleValue | undefined): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

const areCounts = (value: PickleValue | undefined): value is number[] =>
  Array.isArray(value) && value.every(isCount)
