/**
 * Imports the big files of an external ZODB database into one of ours.
 *
 * 1. All transactions of the source, or, without history, one for all, are copied in order (copier.ts), each
 *    with its tid, together with the names (imported-names.ts) and inodes as of then
 *    (file-tree.ts, imported-sizes.ts).
 * 2. In the last one every file gets its exact stored size.
 * 3. Every file's newest state is compared with the source's (compare.ts).
 *
 * An object that the source refers to but does not have (missing-objects.ts) is missing in the import too. An interrupted
 * import is resumed: its state is in a file next to the database (import-map.ts).
 */
import { rmSync } from '../../../store/os-files.ts'
import { Connection } from '../../objects/connection.ts'
import { formatTid, nextTid, tid as tidOf, timeFromTid, TID_NONE, type Tid } from '../../../store/ids.ts'
import type { Store, TransactionInfo, WritableStore } from '../../../store/store.ts'
import { assertLater, assertSameImport, hasTransaction, purposeOf } from './assert-import.ts'
import { compareFiles } from './compare.ts'
import { Copier } from './copier.ts'
import { FileTree } from './file-tree.ts'
import { ImportError } from './import-error.ts'
import { ImportMap } from './import-map.ts'
import { keepImportedHistory } from './keep-history.ts'
import { ImportedNames } from './imported-names.ts'
import { openIfThere, updateSizes } from './imported-sizes.ts'
import { MissingObjects, type MissingObject } from './missing-objects.ts'
import { walkNames } from './walk-names.ts'
import { NO_BYTES } from '../../../store/bytes.ts'

export interface ImportOptions {
  readonly source: Store
  readonly target: WritableStore
  /** The file that keeps the import's state. */
  readonly mapPath: string
  /** The directory in our database, '' for its root. */
  readonly into: string
  readonly history: boolean
  readonly cacheSizeBytes?: number
  /** Receives the number of bytes of records copied; then of those of files compared, with an estimate of all that will be compared. */
  readonly progress?: (phase: 'copy' | 'compare', bytes: number, compared?: number) => void
  readonly log?: (message: string) => void
  /** Maximum bytes of a commit, for tests. */
  readonly partBytes?: number
}

export interface ImportResult {
  readonly files: number
  readonly transactions: number
  /** Bytes of blocks compared. */
  readonly comparedBytes: number
  /** The last transaction of the source that was imported. */
  readonly upTo: Tid
  /** The number of objects missing in the source, and the first examples. */
  readonly missing: { readonly count: number; readonly examples: readonly MissingObject[] }
}

const DEFAULT_CACHE_BYTES = 16 << 20

type Transaction = Pick<TransactionInfo, 'tid' | 'description' | 'user' | 'extension'>

/** @throws ImportError, StoreError */
export async function importDatabase(options: ImportOptions): Promise<ImportResult> {
  const map = await ImportMap.open(options.mapPath, tid => hasTransaction(options.target, tid))
  let isDone = false
  try {
    const importer = await Importer.begin(options, map)
    const result = await importer.run()
    isDone = true
    return result
  } finally {
    isDone ||= !map.isBegun
    map.close()
    if (isDone) for (const suffix of ['', '-wal', '-shm']) rmSync(options.mapPath + suffix, { force: true })
  }
}

class Importer {
  readonly #options: ImportOptions
  readonly #map: ImportMap
  readonly #connection: Connection
  readonly #copier: Copier
  readonly #names: ImportedNames
  readonly #missing = new MissingObjects()
  readonly #cacheSizeBytes: number
  #tree: FileTree | undefined

  private constructor(
    options: ImportOptions,
    map: ImportMap,
    connection: Connection,
    cacheSizeBytes: number,
  ) {
    this.#options = options
    this.#map = map
    this.#connection = connection
    this.#cacheSizeBytes = cacheSizeBytes
    const { source, into, progress, log, partBytes } = options
    this.#names = new ImportedNames({ map, into, missing: this.#missing, ...(log !== undefined && { log }) })
    this.#copier = new Copier({
      source,
      connection,
      map,
      missing: this.#missing,
      progress: bytes => progress?.('copy', bytes),
      ...(partBytes !== undefined && { partBytes }),
    })
  }

  static async begin(options: ImportOptions, map: ImportMap): Promise<Importer> {
    const { source, target, history } = options
    const newest = await source.lastTid()
    assertSameImport(options, map, newest)
    if (map.purpose === undefined) {
      map.purpose = purposeOf(options)
      map.upTo = newest
      if (history) await assertLater(source, target)
    }
    // With history, also import transactions added since the import began; without, copy one moment.
    if (history) {
      map.upTo = newest
      await keepImportedHistory(target)
    }
    const cacheSizeBytes = options.cacheSizeBytes ?? DEFAULT_CACHE_BYTES
    const connection = await Connection.open(target, { cacheSizeBytes })
    const importer = new Importer(options, map, connection, cacheSizeBytes)
    if (!map.isBegun && connection.at !== TID_NONE) await importer.#assertFree()
    return importer
  }

  /** Checks names before anything is copied. @throws ImportError if one exists already. */
  async #assertFree(): Promise<void> {
    const tree = await FileTree.open(this.#connection, 0n)
    const names = await this.#sourceAt(this.#map.upTo)
    for await (const { path } of walkNames(names, { onMissing: () => {} }))
      await tree.assertFree(this.#names.pathOf(path))
  }

  async run(): Promise<ImportResult> {
    const { source, history } = this.#options
    const { upTo } = this.#map
    let transactions = 0
    if (history) {
      const rest = source.transactions({ after: this.#map.done, upTo })
      for await (const transaction of rest)
        if (await this.#importTransaction(this.#map.done, transaction, transaction.tid === upTo))
          transactions++
    } else if (this.#map.done < upTo) {
      const description = `imported from ${source.name}, transaction ${formatTid(upTo)}`
      const all = { tid: upTo, description, user: '', extension: NO_BYTES }
      if (await this.#importTransaction(TID_NONE, all, true)) transactions++
    }
    const compared = await this.#compare()
    const { count, examples } = this.#missing
    return { transactions, upTo, ...compared, missing: { count, examples } }
  }

  /** Resolves to whether there was something to import. */
  async #importTransaction(after: Tid, transaction: Transaction, isLast: boolean): Promise<boolean> {
    const { tid: at, description, user, extension } = transaction
    await this.#copier.mark(after, at)
    const tid = this.#tidFor(at)
    const timeNs = BigInt(Math.floor(timeFromTid(at) * 1000)) * 1000n
    this.#tree ??= await FileTree.open(this.#connection, timeNs)
    await this.#copier.copy(at, tid)
    const moment = { source: await this.#sourceAt(at), tree: this.#tree, timeNs }
    if (this.#copier.mayRename() || !this.#names.isComplete) await this.#names.update(moment, isLast)
    await updateSizes(moment, this.#connection, this.#map, isLast)
    this.#map.done = at
    if (!this.#copier.hasPending) return false
    await this.#copier.commit(tid, { description, user, extension })
    return true
  }

  /** The source's tid if it is later than our last one; otherwise a new one. */
  #tidFor(at: Tid): Tid {
    const last = this.#connection.at
    if (at > last) return at
    const { history, target } = this.#options
    if (history)
      throw new ImportError(
        `${target.name} was written to since its import was interrupted: transaction ${formatTid(at)} can no longer follow; import into a new database`,
      )
    return nextTid(Date.now(), tidOf(last + 1n))
  }

  async #compare(): Promise<Pick<ImportResult, 'files' | 'comparedBytes'>> {
    const { source, target, progress } = this.#options
    const { upTo } = this.#map
    const from = await this.#sourceAt(upTo)
    const at = await target.lastTid()
    const ours = await Connection.open(target, { at, cacheSizeBytes: this.#cacheSizeBytes })
    let files = 0
    let comparedBytes = 0
    let total = 0
    for (const { file } of this.#map.paths()) total += this.#map.file(file)?.stored ?? 0
    for (const { name, file } of this.#map.paths()) {
      if ((await openIfThere(from, file)) === undefined) continue
      const copy = { connection: ours, file: this.#map.get(file)?.ours ?? file }
      const difference = await compareFiles({ connection: from, file }, copy, {
        progress: bytes => {
          comparedBytes += bytes
          progress?.('compare', bytes, total)
        },
        onMissing: oid => this.#missing.add(oid, upTo),
      })
      if (difference !== undefined)
        throw new ImportError(
          `/${this.#names.pathOf(name)} differs from the file in ${source.name}: ${difference}`,
        )
      files++
    }
    return { files, comparedBytes }
  }

  #sourceAt(at: Tid): Promise<Connection> {
    return Connection.open(this.#options.source, { at, cacheSizeBytes: this.#cacheSizeBytes })
  }
}
