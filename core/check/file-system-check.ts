/**
 * Walks the tree of directories as it is now, from the root down, and checks what only the whole can tell:
 *
 * 1. the way to the root directory: root mapping, superblock;
 * 2. each directory's entries, each inode, each file's bytes (file-check.ts), where directories are in one another;
 * 3. inodes that have links by their own count, but that no directory leads to: they are **lost**;
 * 4. link counts, and the sums in the superblock.
 *
 * Repairing changes objects through the connection as any change does, so it becomes ordinary transactions, which
 * can be looked at and undone: entries that lead nowhere go, what is lost is entered in `/lost+found`, counts are
 * set. An object whose present state is lost, and which hardly changes (an inode, a file's object), gets its last state
 * that can be read.
 */
import { LOBTree, OOBTree, type BTree } from '../btree/tree.ts'
import type { Connection } from '../objects/connection.ts'
import { Directory } from '../tree/directory.ts'
import { Inode } from '../tree/inode.ts'
import type { Persistent } from '../objects/persistent.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { ByteString, Ref, type PickleValue } from '../objects/pickle/value.ts'
import { classOfRecord, decodeWritableRecord, encodeRecord } from '../objects/record.ts'
import { Superblock } from '../tree/superblock.ts'
import { ROOT_OID, TID_NONE, type Oid } from '../../store/ids.ts'
import type { Progress, RevisionReader } from '../../store/capabilities.ts'
import { Turns } from '../turns.ts'
import type { ZBigFile } from '../zblk/zbigfile.ts'
import type { Damage } from './damage.ts'
import { FileCheck } from './file-check.ts'
import type { Findings } from './findings.ts'
import { InodeTable } from './inode-table.ts'
import { faultOf, Trees, type Fault } from './trees.ts'

const S_IFMT = 0o170000
const S_IFDIR = 0o040000
const S_IFREG = 0o100000
const S_IFLNK = 0o120000
const LOST_AND_FOUND = 'lost+found'
const ROOT_MODE = 0o040755
const PRIVATE_MODE = 0o040700
/** Repairs are committed when this much is changed. */
const COMMIT_BYTES = 16 << 20

export interface FileSystemCheckParts {
  /** Writable to repair, else not. */
  readonly connection: Connection
  readonly findings: Findings
  readonly report: (damage: Damage) => void
  readonly progress: Progress
  /** Tells which objects exist. */
  readonly reader: RevisionReader
}

export class FileSystemCheck {
  readonly #connection: Connection
  readonly #findings: Findings
  readonly #report: (damage: Damage) => void
  readonly #progress: Progress
  readonly #reader: RevisionReader
  readonly #repair: boolean
  readonly #trees: Trees
  readonly #files: FileCheck
  readonly #inodes: InodeTable
  /** Also for memory: an object that was looked up weakly stays until the event loop has had its turn. */
  readonly #turns = new Turns()
  /** How many inodes there should be. */
  #expected = 0
  readonly #nowNs = BigInt(Date.now()) * 1_000_000n

  constructor({ connection, findings, report, progress, reader }: FileSystemCheckParts) {
    this.#connection = connection
    this.#findings = findings
    this.#report = report
    this.#progress = progress
    this.#reader = reader
    this.#repair = !connection.readOnly
    this.#trees = new Trees(connection, findings)
    this.#files = new FileCheck(connection, findings, this.#trees, report, this.#repair)
    this.#inodes = new InodeTable()
  }

  /** Files and directories that were met. */
  get count(): number {
    return this.#inodes.count
  }

  close(): void {
    this.#inodes.close()
  }

  async run(): Promise<void> {
    const superblock = await this.#openSuperblock()
    const rootOid = await this.#openRoot(superblock)
    if (superblock === undefined || rootOid === undefined) return
    const usage = await superblock.usage().catch(faultOf)
    if ('inodes' in usage) this.#expected = usage.inodes
    await this.#checkTags(superblock)
    await this.#walk()
    await this.#checkOrphans(superblock)
    await this.#findLost(rootOid)
    await this.#checkLinks()
    await this.#checkUsage(superblock)
    await this.#commit(true)
  }

  // ---- where it begins

  async #openSuperblock(): Promise<Superblock | undefined> {
    const root = this.#mapping(ROOT_OID)
    const rootIsWhole = await this.#restorable(root, 'superblock', 'the root mapping')
    if (rootIsWhole) {
      const ref = root.get('zblkfs')
      const object = ref instanceof Ref ? await this.#resolve(ref) : undefined
      if (
        object instanceof PersistentMapping &&
        (await this.#restorable(object, 'superblock', 'the superblock'))
      )
        return await Superblock.open(this.#connection)
      if (!this.#repair || rootIsWhole === 'restored')
        this.#lost({ kind: 'superblock', reason: 'the root mapping leads to no superblock' })
    }
    if (!this.#repair) return undefined
    return await this.#newSuperblock(root)
  }

  /** Finds the superblock, or the root directory, among all objects; else begins anew. */
  async #newSuperblock(root: PersistentMapping): Promise<Superblock | undefined> {
    for await (const mapping of this.#mappings()) {
      if (!(mapping.get('orphans') instanceof Ref) || !(mapping.get('root') instanceof Ref)) continue
      const { ref } = mapping
      await this.#overwrite(root, [['zblkfs', ref]])
      await this.#commit(true)
      return await Superblock.open(this.#connection)
    }
    const made = await this.#connection.create(PersistentMapping)
    made.set('version', 1)
    made.set('root', new Ref(await this.#findRootDirectory(), PersistentMapping.CLASS_NAME))
    made.set('orphans', (await this.#connection.create(LOBTree)).ref)
    made.set('tags', (await this.#connection.create(OOBTree)).ref)
    made.set('bytes', 0)
    made.set('inodes', 1)
    await this.#overwrite(root, [['zblkfs', made.ref]])
    await this.#commit(true)
    return await Superblock.open(this.#connection)
  }

  /** The directory that is its own parent; a new one where there is none. */
  async #findRootDirectory(): Promise<Oid> {
    for await (const mapping of this.#mappings()) {
      const parent = mapping.get('parent')
      if (parent instanceof Ref && parent.oid === mapping.oid && mapping.get('entries') instanceof Ref)
        return mapping.oid
    }
    return (await this.#newDirectory(ROOT_MODE)).oid
  }

  async #newDirectory(mode: number, parent?: Inode): Promise<Inode> {
    const made = await Inode.create(this.#connection, { mode, uid: 0, gid: 0, nlink: 2, timeNs: this.#nowNs })
    await Directory.create(this.#connection, made, parent ?? made)
    return made
  }

  async #openRoot(superblock: Superblock | undefined): Promise<Oid | undefined> {
    if (superblock === undefined) return undefined
    const rootOid = await superblock.rootOid()
    const mapping = this.#mapping(rootOid)
    if (!(await this.#restorable(mapping, 'directory', 'the root directory', '/'))) {
      if (!this.#repair) return undefined
      const made = await this.#newDirectory(ROOT_MODE)
      await this.#overwrite(mapping, made.object.entries())
      await mapping.activate()
      mapping.set('parent', mapping.ref)
    }
    this.#inodes.enter({ oid: rootOid, isDirectory: true, parent: rootOid, name: '', stored: 0 })
    return rootOid
  }

  async #checkTags(superblock: Superblock): Promise<void> {
    const fault = await this.#treeFault(() => superblock.tags())
    if (fault === undefined) return
    this.#lost(
      { kind: 'superblock', reason: `the tags: ${fault.reason}`, oid: fault.oid },
      'those that can be read are kept',
    )
    if (this.#repair) await this.#replaceTree(superblock, 'tags', OOBTree)
  }

  async #treeFault(open: () => Promise<BTree<never> | OOBTree | LOBTree>): Promise<Fault | undefined> {
    try {
      return await this.#trees.check((await open()) as BTree<PickleValue>)
    } catch (error) {
      return faultOf(error)
    }
  }

  async #replaceTree(
    superblock: Superblock,
    key: 'tags' | 'orphans',
    kind: typeof OOBTree | typeof LOBTree,
  ): Promise<void> {
    const old = await superblock[key]().catch(() => undefined)
    const made =
      old === undefined
        ? await this.#connection.create<OOBTree | LOBTree>(kind)
        : await this.#trees.rebuild(old as BTree<PickleValue>)
    const root = await this.#connection.root()
    const ref = root.get('zblkfs')
    if (!(ref instanceof Ref)) return
    const mapping = this.#mapping(ref.oid)
    await mapping.activate()
    mapping.set(key, made.ref)
  }

  // ---- the tree

  async #walk(): Promise<void> {
    for (
      let directory = this.#inodes.nextDirectory();
      directory !== undefined;
      directory = this.#inodes.nextDirectory()
    ) {
      await this.#checkDirectory(directory, this.#inodes.pathOf(directory))
      await this.#commit(false)
    }
  }

  async #checkDirectory(oid: Oid, path: string): Promise<void> {
    const inode = Inode.at(this.#connection, oid)
    await inode.activate()
    const ref = inode.entries
    const tree = ref === undefined ? undefined : await this.#resolve(ref)
    if (!(tree instanceof OOBTree)) {
      this.#lost({ kind: 'directory', path, oid, reason: 'it has no tree of entries' }, 'it is empty now')
      if (!this.#repair) return
      await inode.activate()
      inode.entries = (await this.#connection.create(OOBTree)).ref
      return
    }
    const faults: Fault[] = []
    const broken: PickleValue[] = []
    for await (const part of this.#trees.parts(tree)) {
      if ('fault' in part) faults.push(part.fault)
      else
        for (const [i, key] of part.keys.entries())
          if (!(await this.#checkEntry(oid, path, key, part.values[i] ?? null))) broken.push(key)
    }
    const whole = await this.#trees.check(tree)
    if (whole !== undefined && faults.length === 0) faults.push(whole)
    for (const fault of faults)
      this.#lost(
        { kind: 'directory', path, ...fault, reason: `entries cannot be read: ${fault.reason}` },
        'what they led to is in lost+found',
      )
    if (!this.#repair) return
    const kept = faults.length === 0 ? tree : ((await this.#trees.rebuild(tree)) as OOBTree)
    for (const key of broken) await kept.delete(key as ByteString)
    await inode.activate()
    if (kept !== tree) inode.entries = kept.ref
  }

  /** Whether an entry can stay. */
  async #checkEntry(directory: Oid, path: string, key: PickleValue, value: PickleValue): Promise<boolean> {
    await this.#turns.pass()
    const name = key instanceof ByteString ? key.latin1 : undefined
    const below = `${path === '/' ? '' : path}/${name ?? '?'}`
    const drop = (reason: string, oid?: Oid): false => {
      this.#lost(
        { kind: 'entry', path: below, reason, ...(oid !== undefined && { oid }) },
        'the entry is removed',
      )
      return false
    }
    if (name === undefined || !isName(name)) return drop('its name is none that a file can have')
    if (!(value instanceof Ref)) return drop('the entry is no reference')
    const known = this.#inodes.get(value.oid)
    if (known !== undefined) {
      if (known.isDirectory)
        return drop(`the directory stands in another place too: ${this.#inodes.pathOf(value.oid)}`, value.oid)
      this.#inodes.addName(value.oid)
      return true
    }
    const inode = await this.#inode(value, below)
    if (inode === undefined) return drop('the entry leads to no inode', value.oid)
    await this.#meet(inode, below, directory, name)
    return true
  }

  /** Loads the inode that a reference leads to, or its last state that can be read. */
  async #inode(ref: Ref, path: string): Promise<Inode | undefined> {
    const object = await this.#resolve(ref)
    if (!(object instanceof PersistentMapping)) return undefined
    if (!(await this.#restorable(object, 'inode', 'its inode', path))) return undefined
    const inode = Inode.at(this.#connection, object.oid)
    try {
      // Whatever is needed of it is looked at once.
      void [
        inode.mode,
        inode.uid,
        inode.gid,
        inode.nlink,
        inode.size,
        inode.rdev,
        inode.stored,
        inode.target,
        inode.xattrs,
      ]
      for (const key of ['atime', 'mtime', 'ctime', 'birthtime'] as const) inode.time(key)
      return inode
    } catch (error) {
      this.#lost({ kind: 'inode', path, ...faultOf(error) })
      return undefined
    }
  }

  async #meet(inode: Inode, path: string, directory: Oid | undefined, name: string): Promise<void> {
    const { oid, mode, parent } = inode
    const type = mode & S_IFMT
    this.#progress('files', this.#inodes.count, this.#expected)
    if (type === S_IFDIR) {
      this.#inodes.enter({ oid, isDirectory: true, parent: directory, name, stored: inode.stored })
      if (directory === undefined || parent?.oid === directory) return
      this.#lost(
        { kind: 'directory', path, oid, reason: 'it takes another directory for the one that it is in' },
        'it knows the right one',
      )
      if (this.#repair) inode.parent = this.#mapping(directory).ref
      return
    }
    if (type === S_IFLNK && inode.target.length === 0)
      this.#report({ kind: 'inode', path, oid, reason: 'a symbolic link that leads nowhere' })
    let { stored } = inode
    if (type === S_IFREG) {
      const before = stored
      stored = await this.#files.check(inode, path)
      await inode.activate()
      if (stored !== before) {
        this.#lost(
          { kind: 'usage', path, oid, reason: `it is said to store ${before} bytes, but stores ${stored}` },
          'corrected',
        )
        if (this.#repair) inode.stored = stored
      }
    }
    this.#inodes.enter({ oid, isDirectory: false, parent: directory, name, stored })
  }

  // ---- what has no name

  async #checkOrphans(superblock: Superblock): Promise<void> {
    const fault = await this.#treeFault(() => superblock.orphans())
    if (fault !== undefined) {
      this.#lost(
        { kind: 'superblock', reason: `the deleted files in use: ${fault.reason}`, oid: fault.oid },
        'those that can be read are kept',
      )
      if (!this.#repair) return
      await this.#replaceTree(superblock, 'orphans', LOBTree)
    }
    const orphans = await superblock.orphans()
    const broken: number[] = []
    for await (const [key, value] of orphans.range()) {
      const path = `(deleted, in use)/${key}`
      if (value instanceof Ref && this.#inodes.get(value.oid) !== undefined) continue
      const inode = value instanceof Ref ? await this.#inode(value, path) : undefined
      if (inode !== undefined) await this.#meet(inode, path, undefined, '')
      else {
        this.#lost({ kind: 'entry', path, reason: 'it leads to no inode' }, 'removed')
        broken.push(key)
      }
    }
    if (this.#repair) for (const key of broken) await orphans.delete(key)
  }

  /** Inodes that have links, by their own count, and no name: what led to them is damaged. */
  async #findLost(rootOid: Oid): Promise<void> {
    let found: Inode | undefined
    for await (const mapping of this.#mappings()) {
      const nlink = mapping.get('nlink')
      if (typeof nlink !== 'number' || nlink <= 0 || typeof mapping.get('mode') !== 'number') continue
      if (this.#inodes.get(mapping.oid) !== undefined) continue
      this.#inodes.addLost(mapping.oid)
      const entries = mapping.get('entries')
      const tree = entries instanceof Ref ? await this.#resolve(entries) : undefined
      if (!(tree instanceof OOBTree)) continue
      for await (const part of this.#trees.parts(tree)) {
        if ('fault' in part) continue
        for (const value of part.values)
          if (value instanceof Ref && value.oid !== mapping.oid) this.#inodes.addLostChild(value.oid)
      }
    }
    // First those that nothing else that is lost leads to; what is left then leads to itself.
    for (let lost = this.#inodes.nextLost(); lost !== undefined; lost = this.#inodes.nextLost()) {
      const path = this.#repair ? `/${LOST_AND_FOUND}/#${lost}` : `(lost)/#${lost}`
      const inode = await this.#inode(this.#mapping(lost).ref, path)
      if (inode === undefined) continue
      const what = (inode.mode & S_IFMT) === S_IFDIR ? 'a directory' : `a file of ${inode.size} bytes`
      this.#lost(
        { kind: 'lost', oid: lost, reason: `${what} that no directory leads to` },
        `it is ${path} now`,
      )
      if (this.#repair) {
        found ??= await this.#lostAndFound(rootOid)
        await found.activate()
        await Directory.of(this.#connection, found).set(`#${lost}`, inode)
        await inode.activate()
      }
      await this.#meet(inode, path, found?.oid, `#${lost}`)
      await this.#walk()
    }
  }

  async #lostAndFound(rootOid: Oid): Promise<Inode> {
    const root = Inode.at(this.#connection, rootOid)
    await root.activate()
    const directory = Directory.of(this.#connection, root)
    const existing = await directory.get(LOST_AND_FOUND)
    if (existing !== undefined && this.#inodes.get(existing)?.isDirectory === true)
      return Inode.at(this.#connection, existing)
    if (existing !== undefined) {
      await directory.set(`${LOST_AND_FOUND}.${existing}`, Inode.at(this.#connection, existing))
      await directory.delete(LOST_AND_FOUND)
    }
    await root.activate()
    const made = await this.#newDirectory(PRIVATE_MODE, root)
    await directory.set(LOST_AND_FOUND, made)
    this.#inodes.enter({ oid: made.oid, isDirectory: true, parent: rootOid, name: LOST_AND_FOUND, stored: 0 })
    // It is walked: all that will be in it is entered by who puts it there.
    this.#inodes.nextDirectory()
    return made
  }

  // ---- sums

  async #checkLinks(): Promise<void> {
    for (const { oid, links } of this.#inodes.links()) {
      const inode = Inode.at(this.#connection, oid)
      await inode.activate()
      const { nlink } = inode
      // What is lost has a count without a name; that was said.
      if (nlink === links || (links === 0 && nlink > 0 && !this.#repair)) continue
      this.#lost(
        {
          kind: 'links',
          path: this.#inodes.pathOf(oid),
          oid,
          reason: `its link count is ${nlink}, but it has ${links}`,
        },
        'corrected',
      )
      if (this.#repair) inode.nlink = links
      await this.#commit(false)
    }
  }

  async #checkUsage(superblock: Superblock): Promise<void> {
    const usage = this.#inodes.usage()
    const said = await superblock.usage().catch(faultOf)
    if ('bytes' in said && said.bytes === usage.bytes && said.inodes === usage.inodes) return
    const before = 'bytes' in said ? `${said.inodes} inodes with ${said.bytes} bytes` : said.reason
    this.#lost(
      {
        kind: 'usage',
        reason: `the superblock says ${before}, but there are ${usage.inodes} with ${usage.bytes}`,
      },
      'corrected',
    )
    if (this.#repair) await superblock.setUsage(usage)
  }

  // ---- help

  #mapping(oid: Oid): PersistentMapping {
    const object = this.#connection.get(oid, PersistentMapping.CLASS_NAME)
    if (object instanceof PersistentMapping) return object
    throw this.#connection.corrupt(oid, `it is a ${object.className}`)
  }

  async #resolve(ref: Ref): Promise<Persistent | undefined> {
    try {
      return this.#connection.resolve(ref)
    } catch (error) {
      faultOf(error)
      return undefined
    }
  }

  /** Whether an object can be used; where its present state is lost, perhaps with its last one that can be read. */
  async #restorable(
    object: PersistentMapping | ZBigFile,
    kind: Damage['kind'],
    what: string,
    path?: string,
  ): Promise<'whole' | 'restored' | undefined> {
    const fault = await this.#trees.fault(object)
    if (fault === undefined) return 'whole'
    const earlier = this.#repair ? await this.#restore(object) : false
    this.#lost(
      { kind, ...fault, reason: `${what}: ${fault.reason}`, ...(path !== undefined && { path }) },
      earlier ? 'it has its last state that can be read' : undefined,
    )
    return earlier ? 'restored' : undefined
  }

  /** Gives an object the last state of it that can be read. */
  async #restore({ oid, className }: PersistentMapping | ZBigFile): Promise<boolean> {
    const { records } = this.#connection
    const tids = await records.revisions(oid)
    const lost = new Set(this.#findings.lostOf(oid).map(({ tid }) => tid))
    for (const tid of tids) {
      if (lost.has(tid)) continue
      try {
        const [revision] = await records.load([oid], tid)
        if (revision === undefined || decodeWritableRecord(revision.record, oid, tid).className !== className)
          continue
        this.#connection.putRecord(oid, className, { head: revision.record }, tids[0] ?? tid)
        await this.#connection.get(oid, className).activate()
        return true
      } catch (error) {
        faultOf(error)
      }
    }
    return false
  }

  /** Sets a mapping's record, whatever it was. */
  async #overwrite(mapping: PersistentMapping, entries: Iterable<[string, PickleValue]>): Promise<void> {
    const [base] = await this.#connection.records.revisions(mapping.oid)
    const made = await this.#connection.create(PersistentMapping)
    for (const [key, value] of entries) made.set(key, value)
    const head = encodeRecord(PersistentMapping.CLASS_NAME, made.capture())
    this.#connection.discard(made)
    this.#connection.putRecord(mapping.oid, PersistentMapping.CLASS_NAME, { head }, base ?? TID_NONE)
    await mapping.activate()
  }

  /** All mappings as they are now, those left out that cannot be read. */
  async *#mappings(): AsyncGenerator<PersistentMapping> {
    for await (const oids of this.#reader.oids())
      for (const oid of oids) {
        await this.#turns.pass()
        if (this.#findings.lostOf(oid).length > 0) continue
        try {
          const part = await this.#connection.records.start(oid, 128)
          if (part === undefined || classOfRecord(part.bytes) !== PersistentMapping.CLASS_NAME) continue
          const mapping = this.#mapping(oid)
          await mapping.activate()
          yield mapping
        } catch (error) {
          faultOf(error)
        }
      }
  }

  async #commit(force: boolean): Promise<void> {
    const connection = this.#connection
    if (!this.#repair || !connection.hasPending) return
    if (!force && connection.dirtyBytes < COMMIT_BYTES) return
    await connection.prepare()
    await connection.commit({ description: 'zblkfs fsck --repair' })
  }

  #lost(damage: Damage, repaired?: string): void {
    this.#report({ ...damage, ...(this.#repair && repaired !== undefined && { repaired }) })
  }
}

const isName = (name: string): boolean =>
  name !== '' && name.length <= 255 && name !== '.' && name !== '..' && !/[/\0]/.test(name)
