/**
 * A summary, in a transaction's extension, of the inodes that it changed, so that a log of transactions reads no revisions:
 *
 *     {'zblkfs': {'files': n, 'directories': n, 'inodes': [oid, ...]}}
 *
 * `files` counts the changed inodes that are not directories, `inodes` has the first {@link INODES_MAX} of all, files first. A
 * transaction without a summary was copied from another database or made by another program: its revisions must be read.
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

const KEY = 'zblkfs'

export interface TransactionSummary {
  readonly files: number
  readonly directories: number
  readonly inodes: readonly Oid[]
}

/** The kind of a changed mapping. */
export type InodeKind = 'file' | 'directory' | 'other'

/** Undefined for an object that is not a mapping. */
export function inodeKindOf(object: Persistent): InodeKind | undefined {
  if (!(object instanceof PersistentMapping)) return undefined
  if (!object.has('mode')) return 'other'
  return object.has('entries') ? 'directory' : 'file'
}

/** Collects the changed inodes of a transaction. */
export class SummaryDraft {
  readonly #files: Oid[] = []
  readonly #directories: Oid[] = []
  #fileCount = 0
  #directoryCount = 0

  add(oid: Oid, kind: InodeKind): void {
    if (kind === 'file') {
      this.#fileCount++
      if (this.#files.length < INODES_MAX) this.#files.push(oid)
    } else if (kind === 'directory') {
      this.#directoryCount++
      if (this.#directories.length < INODES_MAX) this.#directories.push(oid)
    }
  }

  /** The extension of the transaction. */
  encode(): Uint8Array {
    const inodes = [...this.#files, ...this.#directories].slice(0, INODES_MAX)
    const summary = new Map<PickleValue, PickleValue>([
      ['files', this.#fileCount],
      ['directories', this.#directoryCount],
      ['inodes', inodes],
    ])
    return new PickleWriter().dump(new Map([[KEY, summary]])).bytes()
  }
}

/** The summary in a transaction's extension; undefined if there is none. */
export function summaryIn(extension: Uint8Array): TransactionSummary | undefined {
  if (extension.length === 0) return undefined
  const all = decode(extension)
  const summary = all instanceof Map ? all.get(KEY) : undefined
  if (!(summary instanceof Map)) return undefined
  const [files, directories, inodes] = ['files', 'directories', 'inodes'].map(key => summary.get(key))
  if (!isCount(files) || !isCount(directories) || !Array.isArray(inodes) || !inodes.every(isCount))
    return undefined
  return { files, directories, inodes: inodes.map(toOid) }
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
