/**
 * Copies the objects of big files, transaction by transaction, into a connection of our database.
 *
 * A ZBigFile is copied from the transaction on in which it first appears, with every object that it refers to. An object
 * that becomes reachable later than it was changed is copied in its present state, so that each of our transactions shows
 * files as they were. A deleted object is deleted in our database by the same transaction. A transaction too large for
 * memory is committed in parts: the last part gets the transaction's tid, the others get tids just before it.
 */
import type { Connection } from '../../objects/connection.ts'
import type { Participant } from '../../objects/participant.ts'
import { readingForeign } from '../damage.ts'
import { remapRecord, type RemappedRecord } from '../remap.ts'
import { IO, LO, OO } from '../../btree/kind.ts'
import { ZBIGARRAY } from '../array.ts'
import { PersistentMapping } from '../../objects/persistent-mapping.ts'
import { classOfRecord, DATA_HEAD_MAX } from '../../objects/record.ts'
import { ZBigFile } from '../../zblk/zbigfile.ts'
import { StoreError, TooLargeError } from '../../../store/errors.ts'
import { formatTid, tid as tidOf, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import type { Revision, Store } from '../../../store/store.ts'
import type { ImportMap, MappedObject } from './import-map.ts'
import type { MissingObjects } from './missing-objects.ts'

/** Bytes collected before a part is committed. */
export const PART_BYTES = 64 << 20
const PART_BYTES_MAX = 1 << 30
/** The tids of a transaction's parts begin this far before its own: a hundredth of a second. */
const PARTS_MAX = 1_000_000n
/** Records loaded together; a record may be as large as a block. */
const BATCH = 16
const CANDIDATES_MAX = 10_000
/** Approximate memory of a record besides its bytes. */
const RECORD_BYTES = 300

/** Classes of objects on paths: when one changes, names may have changed. */
const NAMING: ReadonlySet<string> = new Set([
  PersistentMapping.CLASS_NAME,
  OO.tree,
  OO.bucket,
  LO.tree,
  LO.bucket,
  IO.tree,
  IO.bucket,
  ZBIGARRAY,
])

interface Copied extends RemappedRecord {
  readonly object: MappedObject
}

/** Copied records, passed to the connection when it prepares. */
export class CopiedRecords implements Participant {
  readonly #connection: Connection
  #records: Copied[] = []
  #prepared: Oid[] = []
  #sizeBytes = 0

  constructor(connection: Connection) {
    this.#connection = connection
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  add(record: Copied): void {
    this.#connection.join(this)
    this.#records.push(record)
    this.#sizeBytes += record.dataBytes + record.source.head.length + RECORD_BYTES
  }

  async prepare(): Promise<void> {
    for (const { object, className, source } of this.#records)
      this.#connection.putRecord(object.ours, className, source, object.written)
    for (const { object } of this.#records) this.#prepared.push(object.oid)
    this.abort()
  }

  abort(): void {
    this.#records = []
    this.#sizeBytes = 0
  }

  /** The objects passed to the connection since the last call. */
  takePrepared(): readonly Oid[] {
    const prepared = this.#prepared
    this.#prepared = []
    return prepared
  }
}

export interface CopierOptions {
  readonly source: Store
  readonly connection: Connection
  readonly map: ImportMap
  /** Missing objects that are referred to. */
  readonly missing: MissingObjects
  /** Receives the number of bytes of records copied. */
  readonly progress: (bytes: number) => void
  /** Maximum bytes of a part, for tests. */
  readonly partBytes?: number
}

export class Copier {
  readonly #options: CopierOptions
  readonly #records: CopiedRecords
  #mayRename = false
  /** Changed objects that may be directories. */
  #candidates: Oid[] = []
  /** Objects deleted by the transaction being copied. */
  #deletions: MappedObject[] = []
  #batch = BATCH

  constructor(options: CopierOptions) {
    this.#options = options
    this.#records = new CopiedRecords(options.connection)
  }

  /** Marks the objects of big files changed by the transactions `(after, upTo]`, including new big files. */
  async mark(after: Tid, upTo: Tid): Promise<void> {
    const { source, map } = this.#options
    this.#candidates = []
    this.#mayRename = false
    for await (const { oids } of source.changes(after, upTo))
      for (const oid of oids) {
        if (map.markChanged(oid, upTo)) continue
        const part = await readingForeign(source, () => source.loadPart(oid, upTo, 0, DATA_HEAD_MAX))
        const className = part === undefined ? '' : classOfRecord(part.bytes)
        if (className === ZBigFile.CLASS_NAME) {
          map.add(oid, await this.#newOid(), oid)
          this.#mayRename = true
        } else if (part === undefined || NAMING.has(className)) this.#candidates.push(oid)
        if (this.#candidates.length > CANDIDATES_MAX) {
          this.#mayRename = true
          this.#candidates = []
        }
      }
  }

  /** Whether names may have changed: an object that was marked and copied since may be on a path. */
  mayRename(): boolean {
    return this.#mayRename || this.#candidates.some(oid => this.#options.map.get(oid) === undefined)
  }

  /**
   * Copies the marked objects, as of `at`, and commits parts as needed to bound memory.
   * @param tid the tid of the last part in our database.
   */
  async copy(at: Tid, tid: Tid): Promise<void> {
    const { source, map, partBytes = PART_BYTES } = this.#options
    for (;;) {
      const batch = map.nextToCopy(this.#batch)
      if (batch.length === 0) return
      try {
        await readingForeign(source, () => this.#copyBatch(batch, at))
      } catch (error) {
        if (!(error instanceof TooLargeError) || batch.length === 1) throw error
        this.#batch = 1
      }
      if (this.#records.sizeBytes > partBytes) await this.#commitPart(tid)
    }
  }

  /** Commits all prepared records and changes as `tid`. */
  async commit(
    tid: Tid,
    about: { readonly description?: string; readonly user?: string; extension?: Uint8Array },
  ): Promise<void> {
    const { connection, map } = this.#options
    await connection.prepare()
    for (const oid of this.#records.takePrepared()) map.setWritten(oid, tid)
    const deletions = this.#deletions
    for (const { oid } of deletions) map.setWritten(oid, tid)
    map.prepareStep(tid)
    await connection.commit(
      { ...about, tid },
      deletions.map(({ ours, written }) => ({ oid: ours, base: written })),
    )
    this.#deletions = []
    map.endStep()
  }

  /** Whether a commit would store something. */
  get hasPending(): boolean {
    return this.#deletions.length > 0 || this.#options.connection.hasPending
  }

  async #copyBatch(batch: readonly MappedObject[], at: Tid): Promise<void> {
    const { source, map, progress } = this.#options
    const revisions = await source.load(
      batch.map(({ oid }) => oid),
      at,
    )
    const touched = new Map<Oid, number>()
    for (const [i, object] of batch.entries()) {
      const revision = revisions[i]
      if (revision === undefined) {
        if (object.written === TID_NONE) this.#options.missing.add(object.oid, at)
        else this.#deletions.push(object)
        touched.set(object.file, touched.get(object.file) ?? 0)
      } else {
        const remapped = await this.#remap(revision, object)
        this.#records.add({ ...remapped, object })
        touched.set(object.file, (touched.get(object.file) ?? 0) + remapped.dataBytes)
        progress(revision.record.length)
      }
      map.setCopied(object.oid, at)
    }
    for (const [file, bytes] of touched) map.addCopied(file, bytes)
  }

  async #remap({ record, tid }: Revision, { oid, file }: MappedObject): Promise<RemappedRecord> {
    const { map } = this.#options
    const unknown = new Set<Oid>()
    const remap = (): RemappedRecord =>
      remapRecord(record, oid, tid, ref => {
        const known = map.get(ref.oid)
        if (known === undefined) unknown.add(ref.oid)
        return known?.ours ?? ref.oid
      })
    const remapped = remap()
    if (unknown.size === 0) return remapped
    for (const theirs of unknown) map.add(theirs, await this.#newOid(), file)
    return remap()
  }

  async #newOid(): Promise<Oid> {
    return await this.#options.connection.newOids(1)
  }

  async #commitPart(tid: Tid): Promise<void> {
    const { connection } = this.#options
    const soonest = connection.at + 1n
    const part = tidOf(soonest > tid - PARTS_MAX ? soonest : tid - PARTS_MAX)
    if (part >= tid) {
      if (this.#records.sizeBytes > PART_BYTES_MAX)
        throw new StoreError(
          `transaction ${formatTid(tid)} is too large for memory, and there is no free tid before it for its parts`,
        )
      return
    }
    await this.commit(part, { description: `a part of transaction ${formatTid(tid)}` })
  }
}
