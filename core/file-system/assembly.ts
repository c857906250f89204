/** Opens a database as a filesystem: makes the parts of a {@link FileSystem}. */
import { processOwner } from '../process-owner.ts'
import { pino, type Logger } from 'pino'
import { Connection } from '../objects/connection.ts'
import { resolveMoment } from '../../store/moments.ts'
import { Superblock } from '../tree/superblock.ts'
import { CannotOpenError } from '../../store/errors.ts'
import { formatOid, TID_NONE, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { ReadWriteLock } from './locks.ts'
import { Views } from './inodes/views.ts'
import { Bookkeeping } from './commit/bookkeeping.ts'
import { systemClock, type Clock } from './clock.ts'
import { Context } from './context.ts'
import { MappedPages } from './mapped-pages.ts'
import { Handles } from './inodes/handles.ts'
import { KernelCaches } from './inodes/kernel-caches.ts'
import { RememberedNodes } from './inodes/remembered-nodes.ts'
import { storeAccessTimes } from './operations/access-time.ts'
import { Tree } from './inodes/tree.ts'
import { WriteBack } from './commit/write-back.ts'
import { ReplayClock, replayIntents } from './commit/replay.ts'
import { type ZBlkFormat } from '../objects/zblk-format.ts'

/** Options of a filesystem; absent ones have defaults. */
export interface FileSystemOptions {
  /** A moment in the notation of store/moments.ts: shows only that moment, read-only. */
  readonly at?: string
  /** Maximum memory for objects. */
  readonly cacheSizeBytes?: number
  /** Maximum memory for changes that are not stored yet. */
  readonly dirtySizeBytes?: number
  /** Time between the first change and its commit. */
  readonly commitIntervalMs?: number
  readonly zblkFormat?: ZBlkFormat
  /** Reads do not change access times (-o noatime). */
  readonly ignoresAccess?: boolean
  /** POSIX ACLs are stored and inherited (-o acl); the driver has the kernel check them. */
  readonly acl?: boolean
  /** Owner of the root directory of a new filesystem; by default the user of this process. */
  readonly owner?: { readonly uid: number; readonly gid: number }
  /** Whether other mounts write the same database at the same time. */
  readonly isShared?: boolean
  readonly log?: Logger
  /** See {@link MappedPages}. */
  readonly writeBackPages?: () => Promise<void>
}

/** The parts of a filesystem. */
export interface Assembly {
  readonly context: Context
  readonly superblock: Superblock
  /** Undefined for a read-only filesystem. */
  readonly writeBack: WriteBack | undefined
  /** The options in effect, for display. */
  readonly config: Readonly<Record<string, unknown>>
}

const DEFAULT_CACHE_BYTES = 16 << 20
const DEFAULT_DIRTY_BYTES = 32 << 20
const DEFAULT_COMMIT_INTERVAL_MS = 5000
/** Maximum number of access times that a transaction stores with its changes. */
const ACCESS_TIMES_PER_COMMIT = 1024

/** Opens the filesystem of a store; creates one in an empty store. @throws CannotOpenError, StoreError. */
export async function assemble(store: Store, options: FileSystemOptions): Promise<Assembly> {
  const { cacheSizeBytes = DEFAULT_CACHE_BYTES, dirtySizeBytes = DEFAULT_DIRTY_BYTES } = options
  const { commitIntervalMs = DEFAULT_COMMIT_INTERVAL_MS, log = pino({ level: 'silent' }) } = options
  const clock = new ReplayClock(systemClock())
  const nowNs = clock.now
  const at = options.at === undefined ? undefined : await momentOf(store, options.at, cacheSizeBytes)
  const connection = await Connection.open(store, {
    cacheSizeBytes,
    onLeftOut: ({ oid, className, error }) =>
      log.error({ oid: formatOid(oid), className, err: error }, 'a change cannot be stored and is lost'),
    ...(at !== undefined && { at }),
    ...(options.zblkFormat !== undefined && { zblkFormat: options.zblkFormat }),
  })
  const { readOnly, zblkFormat } = connection
  const superblock = await openSuperblock(connection, options.owner ?? processOwner(), nowNs)
  const identity = { number: 0, generation: 0, rootOid: await superblock.rootOid(), readOnly }
  const remembered = new RememberedNodes()
  const live = new Tree(identity, connection, remembered)
  const bookkeeping = await Bookkeeping.start(superblock, live, options.isShared)
  const gate = new ReadWriteLock()
  const { intents } = store.capabilities
  const mappedPages = new MappedPages({
    writeBackPages: options.writeBackPages,
    intervalMs: commitIntervalMs,
  })
  const writeBack = readOnly
    ? undefined
    : new WriteBack({
        connection,
        intents,
        gate,
        bookkeeping,
        commitIntervalMs,
        dirtySizeBytes,
        log,
        measuring: store.capabilities.measuring,
        collectPages: () => mappedPages.collect(),
        storeAccessTimes: isLast => storeAccessTimes(live, isLast ? Infinity : ACCESS_TIMES_PER_COMMIT),
        snapshot: () => snapshotOf(live, bookkeeping),
      })
  const context = new Context({
    live,
    views: new Views({ store, superblock, remembered, cacheSizeBytes }),
    handles: new Handles(),
    bookkeeping,
    caches: new KernelCaches(live),
    mappedPages,
    writeBack,
    gate,
    nowNs,
    ignoresAccess: options.ignoresAccess ?? false,
    hasAcls: options.acl ?? false,
  })
  const isRepeated = intents !== undefined && !readOnly && (await replayIntents(intents, context, clock, log))
  if (connection.hasPending || isRepeated) await writeBack?.storeFirst()
  const { at: wanted } = options
  const bounds = { cacheSizeBytes, dirtySizeBytes, commitIntervalMs }
  const config = { database: store.name, readOnly, ...(wanted && { at: wanted }), zblkFormat, ...bounds }
  return { context, superblock, writeBack, config }
}

/** A snapshot of the nodes in use; the returned function restores it, once the connection has dropped its changes. */
async function snapshotOf(live: Tree, bookkeeping: Bookkeeping): Promise<() => Promise<void>> {
  // Before the first oid is taken, it is not known from which on they are new.
  await live.connection.reserveOids(1)
  const firstNew = live.connection.nextOid
  const restore = bookkeeping.snapshot()
  return async () => {
    await restore()
    for (const node of live.nodes) {
      node.revert(bookkeeping.isOrphan(node))
      if (node.oid >= firstNew) node.vanish()
    }
  }
}

type Owner = NonNullable<FileSystemOptions['owner']>

/** The superblock of a database; a new one in an empty, writable database. */
async function openSuperblock(connection: Connection, owner: Owner, nowNs: Clock): Promise<Superblock> {
  if (connection.at !== TID_NONE) return await Superblock.open(connection)
  if (connection.readOnly)
    throw new CannotOpenError(`${connection.name} is empty: mount it for writing once to create a filesystem`)
  return await Superblock.create(connection, owner, nowNs())
}

/** The transaction that a text refers to, with the tags of the present. @throws StoreError (no-moment) */
async function momentOf(store: Store, text: string, cacheSizeBytes: number): Promise<Tid> {
  const present = await Connection.open(store, { at: await store.lastTid(), cacheSizeBytes })
  const superblock = await Superblock.open(present)
  return await resolveMoment(store, text, name => superblock.tag(name))
}
