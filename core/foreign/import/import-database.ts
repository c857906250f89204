/**
 * Imports the big files of a ZODB database into one of ours.
 *
 * 1. All transactions of the source, or, without history, one that stands for all, are copied one after the other
 *    (copier.ts), each into one of the same tid, together with the names and inodes as of then (file-tree.ts).
 * 2. In the last one every file gets its exact size on disk.
 * 3. Every file's newest state is compared with the source's.
 *
 * What was begun is gone on with: where it stands is in a file beside the database (import-map.ts).
 */
import { rmSync } from 'node:fs'
import { Blocks } from '../../big-file/blocks.ts'
import { storedBytes } from '../../big-file/apply.ts'
import { Connection } from '../../objects/connection.ts'
import { readingForeign } from '../damage.ts'
import { openForeignFile, type ForeignFile } from '../file.ts'
import { CorruptRecordError, ObjectNotFoundError } from '../../../store/errors.ts'
import {
  formatOid,
  formatTid,
  nextTid,
  tid as tidOf,
  timeFromTid,
  TID_NONE,
  type Oid,
  type Tid,
} from '../../../store/ids.ts'
import type { Store, TransactionInfo, WritableStore } from '../../../store/store.ts'
import { ImportError } from './import-error.ts'
import { compareFiles } from './compare.ts'
import { Copier } from './copier.ts'
import { FileTree } from './file-tree.ts'
import { ImportMap } from './import-map.ts'
import { walkNames } from './walk-names.ts'

export interface ImportOptions {
  readonly source: Store
  readonly target: WritableStore
  /** Where the import's progress is kept. */
  readonly mapPath: string
  /** The directory in our database, '' for its root. */
  readonly into: string
  readonly history: boolean
  readonly cacheSizeBytes?: number
  /** Told of the bytes of records copied, and then of those of files compared. */
  readonly progress?: (phase: 'copy' | 'compare', bytes: number) => void
  readonly log?: (message: string) => void
  /** How much is committed at once; for tests. */
  readonly partBytes?: number
}

export interface ImportResult {
  readonly files: number
  readonly transactions: number
  /** Bytes of blocks compared. */
  readonly comparedBytes: number
  /** The last transaction of the source that was imported. */
  readonly upTo: Tid
}

const DEFAULT_CACHE_BYTES = 16 << 20
/** Where files are put that no name leads to. */
const UNNAMED = 'bigfile'

type Transaction = Pick<TransactionInfo, 'tid' | 'description' | 'user' | 'extension'>

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
    const { source, progress, partBytes } = options
    this.#copier = new Copier({
      source,
      connection,
      map,
      progress: bytes => progress?.('copy', bytes),
      ...(partBytes !== undefined && { partBytes }),
    })
  }

  static async begin(options: ImportOptions, map: ImportMap): Promise<Importer> {
    const { source, target, into, history } = options
    const purpose = JSON.stringify({ source: source.name, into, history })
    if (map.purpose !== undefined && map.purpose !== purpose)
      throw new ImportError(
        `another import into ${target.name} was interrupted (${map.purpose}): repeat that one first, or remove ${options.mapPath} to give it up`,
      )
    const newest = await source.lastTid()
    if (map.purpose !== undefined && newest < map.upTo)
      throw new ImportError(
        `${source.name} ends with transaction ${formatTid(newest)}, but had ${formatTid(map.upTo)} when its import began: bring it back, or remove ${target.name} and ${options.mapPath} and begin anew`,
      )
    if (map.purpose === undefined) {
      map.purpose = purpose
      map.upTo = newest
      if (history) await assertLater(source, target)
    }
    // With history what has come since follows by itself; without, one moment is copied.
    if (history) map.upTo = newest
    const cacheSizeBytes = options.cacheSizeBytes ?? DEFAULT_CACHE_BYTES
    const connection = await Connection.open(target, { cacheSizeBytes })
    const importer = new Importer(options, map, connection, cacheSizeBytes)
    if (!map.isBegun && connection.at !== TID_NONE) await importer.#assertRoom()
    return importer
  }

  /** @throws ImportError where a name is taken already. Better now than when half is copied. */
  async #assertRoom(): Promise<void> {
    const { source } = this.#options
    const tree = await FileTree.open(this.#connection, 0n)
    const names = await Connection.open(source, { at: this.#map.upTo, cacheSizeBytes: this.#cacheSizeBytes })
    for await (const { path } of walkNames(names, () => {})) await tree.assertFree(this.#pathOf(path))
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
      const all = { tid: upTo, description, user: '', extension: new Uint8Array(0) }
      if (await this.#importTransaction(TID_NONE, all, true)) transactions++
    }
    return { transactions, upTo, ...(await this.#compare()) }
  }

  /** Resolves to whether there was something to import. */
  async #importTransaction(after: Tid, transaction: Transaction, isLast: boolean): Promise<boolean> {
    const { source } = this.#options
    const { tid: at, description, user, extension } = transaction
    await this.#copier.mark(after, at)
    const tid = this.#tidFor(at)
    const timeNs = BigInt(Math.floor(timeFromTid(at) * 1000)) * 1000n
    this.#tree ??= await FileTree.open(this.#connection, timeNs)
    await this.#copier.copy(at, tid)
    const connection = await Connection.open(source, { at, cacheSizeBytes: this.#cacheSizeBytes })
    if (this.#copier.mayRename()) await this.#updateNames(connection, this.#tree, timeNs)
    await this.#updateFiles(connection, this.#tree, timeNs, isLast)
    this.#map.done = at
    if (!this.#connection.hasPending) return false
    await this.#copier.commit(tid, { description, user, extension })
    return true
  }

  /** The source's tid wherever it is later than our last one; a new one else. */
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

  async #updateNames(source: Connection, tree: FileTree, timeNs: bigint): Promise<void> {
    const { log } = this.#options
    const { at } = source
    for await (const { path, file } of walkNames(source, message => log?.(message)))
      if (this.#map.file(file) !== undefined) await this.#name(path, file, at, tree, timeNs)
    for (let file = this.#map.nextUnnamed(at); file !== undefined; file = this.#map.nextUnnamed(at))
      await this.#name(`${UNNAMED}/${formatOid(file)}`, file, at, tree, timeNs)
    for (let gone = this.#map.takeVanished(at); gone !== undefined; gone = this.#map.takeVanished(at))
      await this.#unname(gone.name, gone.file, tree, timeNs)
  }

  async #name(name: string, file: Oid, at: Tid, tree: FileTree, timeNs: bigint): Promise<void> {
    const before = this.#map.seePath(name, file, at)
    if (before === file) return
    if (before !== undefined) await this.#unname(name, before, tree, timeNs)
    const inode = this.#map.file(file)?.inode ?? (await this.#createInode(file, tree, timeNs))
    await tree.link(this.#pathOf(name), inode, timeNs)
  }

  async #createInode(file: Oid, tree: FileTree, timeNs: bigint): Promise<Oid> {
    const ours = this.#map.get(file)?.ours
    if (ours === undefined) throw new Error(`file ${file} is not in the map`)
    const inode = await tree.createFile(ours, timeNs)
    this.#map.setInode(file, inode)
    this.#map.touch(file, 0)
    return inode
  }

  async #unname(name: string, file: Oid, tree: FileTree, timeNs: bigint): Promise<void> {
    const inode = this.#map.file(file)?.inode
    if (inode === undefined) return
    if (!(await tree.unlink(this.#pathOf(name), inode, timeNs))) this.#map.setInode(file, undefined)
  }

  /** Sizes and times of the files that have changed; of all, exactly, at the end. */
  async #updateFiles(source: Connection, tree: FileTree, timeNs: bigint, isLast: boolean): Promise<void> {
    if (isLast) await this.#connection.prepare()
    for (const { file, inode, stored, isTouched } of this.#map.files(isLast)) {
      if (inode === undefined) continue
      const found = await openIfThere(source, file)
      if (found === undefined) continue
      const { size } = found
      const exact = isLast ? await readingForeign(source, () => this.#storedBytes(file)) : stored
      await tree.update(inode, { size, stored: exact, ...(isTouched && { timeNs }) })
      this.#map.settleFile(file, exact)
    }
  }

  /** @throws CorruptRecordError about the source's file: what its copy is damaged in, it is damaged in. */
  async #storedBytes(file: Oid): Promise<number> {
    const ours = this.#map.get(file)?.ours ?? file
    let bytes = 0
    try {
      const { object } = await openForeignFile(this.#connection, ours)
      const blocks = new Blocks(this.#connection, object)
      for await (const [blk] of blocks.blktab.range()) bytes += await storedBytes(blocks, blk)
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      throw new CorruptRecordError(file, this.#map.upTo, `a block of the file: ${error.reason}`, {
        cause: error,
      })
    }
    return bytes
  }

  async #compare(): Promise<Pick<ImportResult, 'files' | 'comparedBytes'>> {
    const { source, target, progress } = this.#options
    const cacheSizeBytes = this.#cacheSizeBytes
    const from = await Connection.open(source, { at: this.#map.upTo, cacheSizeBytes })
    const ours = await Connection.open(target, { at: await target.lastTid(), cacheSizeBytes })
    let files = 0
    let comparedBytes = 0
    for (const { name, file } of this.#map.paths()) {
      if ((await openIfThere(from, file)) === undefined) continue
      const copy = this.#map.get(file)?.ours ?? file
      const difference = await compareFiles(from, file, ours, copy, bytes => {
        comparedBytes += bytes
        progress?.('compare', bytes)
      })
      if (difference !== undefined)
        throw new ImportError(`/${this.#pathOf(name)} is not what ${source.name} has: ${difference}`)
      files++
    }
    return { files, comparedBytes }
  }

  #pathOf(name: string): string {
    return this.#options.into === '' ? name : `${this.#options.into}/${name}`
  }
}

/** A file; undefined where its creation was undone, from when on it stays as it was. */
async function openIfThere(source: Connection, file: Oid): Promise<ForeignFile | undefined> {
  try {
    return await readingForeign(source, () => openForeignFile(source, file))
  } catch (error) {
    if (error instanceof ObjectNotFoundError && error.oid === file) return undefined
    throw error
  }
}

async function hasTransaction(store: Store, tid: Tid): Promise<boolean> {
  for await (const transaction of store.transactions({ after: tidOf(tid - 1n), upTo: tid }))
    return transaction.tid === tid
  return false
}

/** What tells a store's last transaction from others. */
async function lastTransaction(store: Store): Promise<string> {
  for await (const { tid, description, user } of store.transactions({ reverse: true, limit: 1 }))
    return `${formatTid(tid)} ${user} ${description}`
  return ''
}

/** @throws ImportError where tids cannot be kept. */
async function assertLater(source: Store, target: Store): Promise<void> {
  const last = await target.lastTid()
  if (last === TID_NONE) return
  const [theirs, ours] = await Promise.all([source, target].map(lastTransaction))
  if (theirs === ours)
    throw new ImportError(
      `${target.name} has the history of ${source.name} already: both end with transaction ${formatTid(last)}`,
    )
  for await (const { tid } of source.transactions({ limit: 1 })) {
    if (tid > last) return
    throw new ImportError(
      `the history cannot be kept: ${source.name} begins with transaction ${formatTid(tid)}, but ${target.name} has ${formatTid(last)} already, and transactions only follow later ones; import into a new database, or without --history`,
    )
  }
}
