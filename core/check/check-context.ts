/** Shared by the parts of a check of the filesystem: reading, reporting, and changing objects. */
import type { Progress } from '../../store/capabilities.ts'
import type { RevisionReader } from '../../store/stored-revisions.ts'
import { TID_NONE, type Oid } from '../../store/ids.ts'
import type { BTree, LOBTree, OOBTree } from '../btree/tree.ts'
import type { Connection } from '../objects/connection.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import type { Persistent } from '../objects/persistent.ts'
import { Ref, type PickleValue } from '../objects/pickle/value.ts'
import { classOfRecord, decodeWritableRecord, encodeRecord } from '../objects/record.ts'
import { Directory } from '../tree/directory.ts'
import { Inode } from '../tree/inode.ts'
import type { Superblock } from '../tree/superblock.ts'
import { Turns } from '../turns.ts'
import type { ZBigFile } from '../zblk/zbigfile.ts'
import type { Damage } from './damage.ts'
import type { Findings } from './findings.ts'
import { InodeTable } from './inode-table.ts'
import { faultOf, Trees, type Fault } from './trees.ts'

/** Repairs are committed after this amount of changes. */
const COMMIT_BYTES = 16 << 20

export interface FileSystemCheckParts {
  /** Writable only for a repair. */
  readonly connection: Connection
  readonly findings: Findings
  readonly report: (damage: Damage) => void
  readonly progress: Progress
  /** Tells which objects exist. */
  readonly reader: RevisionReader
}

export class CheckContext {
  readonly connection: Connection
  readonly findings: Findings
  readonly report: (damage: Damage) => void
  readonly progress: Progress
  readonly reader: RevisionReader
  readonly isRepair: boolean
  readonly trees: Trees
  readonly inodes = new InodeTable()
  /** Also bounds memory: weakly held objects stay until the next turn of the event loop. */
  readonly turns = new Turns()
  readonly nowNs = BigInt(Date.now()) * 1_000_000n

  constructor({ connection, findings, report, progress, reader }: FileSystemCheckParts) {
    this.connection = connection
    this.findings = findings
    this.report = report
    this.progress = progress
    this.reader = reader
    this.isRepair = !connection.readOnly
    this.trees = new Trees(connection, findings)
  }

  mapping(oid: Oid): PersistentMapping {
    const object = this.connection.get(oid, PersistentMapping.CLASS_NAME)
    if (object instanceof PersistentMapping) return object
    throw this.connection.corrupt(oid, `it is a ${object.className}`)
  }

  async resolve(ref: Ref): Promise<Persistent | undefined> {
    try {
      return this.connection.resolve(ref)
    } catch (error) {
      faultOf(error)
      return undefined
    }
  }

  /** Whether an object can be used; if its present state is lost, possibly in its last readable state. */
  async restorable(
    object: PersistentMapping | ZBigFile,
    kind: Damage['kind'],
    what: string,
    path?: string,
  ): Promise<'whole' | 'restored' | undefined> {
    const fault = await this.trees.fault(object)
    if (fault === undefined) return 'whole'
    const earlier = this.isRepair ? await this.#restore(object) : false
    this.found(
      { kind, ...fault, reason: `${what}: ${fault.reason}`, ...(path !== undefined && { path }) },
      earlier ? 'its last readable state is restored' : undefined,
    )
    return earlier ? 'restored' : undefined
  }

  /** Restores the last readable state of an object. */
  async #restore({ oid, className }: PersistentMapping | ZBigFile): Promise<boolean> {
    const { records } = this.connection
    const tids = await records.revisions(oid)
    const lost = new Set(this.findings.lostOf(oid).map(({ tid }) => tid))
    for (const tid of tids) {
      if (lost.has(tid)) continue
      try {
        const [revision] = await records.load([oid], tid)
        if (revision === undefined || decodeWritableRecord(revision.record, oid, tid).className !== className)
          continue
        this.connection.putRecord(oid, className, { head: revision.record }, tids[0] ?? tid)
        await this.connection.get(oid, className).activate()
        return true
      } catch (error) {
        faultOf(error)
      }
    }
    return false
  }

  /** Replaces a mapping's record, even if it is damaged. */
  async overwrite(mapping: PersistentMapping, entries: Iterable<[string, PickleValue]>): Promise<void> {
    const [base] = await this.connection.records.revisions(mapping.oid)
    const made = await this.connection.create(PersistentMapping)
    for (const [key, value] of entries) made.set(key, value)
    const head = encodeRecord(PersistentMapping.CLASS_NAME, made.capture())
    this.connection.discard(made)
    this.connection.putRecord(mapping.oid, PersistentMapping.CLASS_NAME, { head }, base ?? TID_NONE)
    await mapping.activate()
  }

  /** All readable mappings in their present state, of those oids that are wanted. */
  async *mappings(isWanted: (oid: Oid) => boolean = () => true): AsyncGenerator<PersistentMapping> {
    for await (const oids of this.reader.oids())
      for (const oid of oids) {
        if (!isWanted(oid)) continue
        await this.turns.pass()
        if (this.findings.lostOf(oid).length > 0) continue
        try {
          const part = await this.connection.records.start(oid, 128)
          if (part === undefined || classOfRecord(part.bytes) !== PersistentMapping.CLASS_NAME) continue
          const mapping = this.mapping(oid)
          await mapping.activate()
          yield mapping
        } catch (error) {
          faultOf(error)
        }
      }
  }

  async treeFault(open: () => Promise<BTree<never> | OOBTree | LOBTree>): Promise<Fault | undefined> {
    try {
      return await this.trees.check((await open()) as BTree<PickleValue>)
    } catch (error) {
      return faultOf(error)
    }
  }

  async replaceTree(
    superblock: Superblock,
    key: 'tags' | 'orphans',
    kind: typeof OOBTree | typeof LOBTree,
  ): Promise<void> {
    const old = await superblock[key]().catch(() => undefined)
    const made =
      old === undefined
        ? await this.connection.create<OOBTree | LOBTree>(kind)
        : await this.trees.rebuild(old as BTree<PickleValue>)
    const root = await this.connection.root()
    const ref = root.get('zblkfs')
    if (!(ref instanceof Ref)) return
    const mapping = this.mapping(ref.oid)
    await mapping.activate()
    mapping.set(key, made.ref)
  }

  async newDirectory(mode: number, parent?: Inode): Promise<Inode> {
    const made = await Inode.create(this.connection, { mode, uid: 0, gid: 0, nlink: 2, timeNs: this.nowNs })
    await Directory.create(this.connection, made, parent ?? made)
    return made
  }

  async commit(force: boolean): Promise<void> {
    const connection = this.connection
    if (!this.isRepair || !connection.hasPending) return
    if (!force && connection.dirtyBytes < COMMIT_BYTES) return
    await connection.prepare()
    await connection.commit({ description: 'zblkfs fsck --repair' })
  }

  found(damage: Damage, repaired?: string): void {
    this.report({ ...damage, ...(this.isRepair && repaired !== undefined && { repaired }) })
  }
}
