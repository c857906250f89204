/** Opens a database as a filesystem: puts together what {@link FileSystem} consists of. */
import { processOwner } from '../process-owner.ts'
import { pino, type Logger } from 'pino'
import { Connection, type ZBlkFormat } from '../objects/connection.ts'
import { resolveMoment } from '../../store/moments.ts'
import { Superblock } from '../tree/superblock.ts'
import { CannotOpenError } from '../../store/errors.ts'
import { formatOid, TID_NONE, type Tid } from '../../store/ids.ts'
import type { Intents } from '../../store/capabilities.ts'
import type { Store } from '../../store/store.ts'
import { ReadWriteLock } from './locks.ts'
import { Views } from './inodes/views.ts'
import { Bookkeeping } from './commit/bookkeeping.ts'
import { systemClock, type Clock } from './clock.ts'
import { Context } from './context.ts'
import { FileData } from './operations/io.ts'
import { Handles } from './inodes/handles.ts'
import { Tree } from './inodes/tree.ts'
import { WriteBack } from './commit/write-back.ts'
import { writesOf } from './commit/write-intents.ts'

/** What a filesystem is opened with; what is absent has a default. */
export interface FileSystemOptions {
  /** A moment as a person writes it: only that one is shown, read-only. */
  readonly at?: string
  /** The bound for objects kept in memory, in bytes. */
  readonly cacheSizeBytes?: number
  /** The bound for changes that are not stored yet, in bytes. */
  readonly dirtySizeBytes?: number
  /** How long after the first change it is stored. */
  readonly commitIntervalMs?: number
  readonly zblkFormat?: ZBlkFormat
  /** Whom the root directory of a new filesystem belongs to: whoever runs this process, if absent. */
  readonly owner?: { readonly uid: number; readonly gid: number }
  readonly log?: Logger
}

/** The parts of a filesystem. */
export interface Assembly {
  readonly context: Context
  readonly superblock: Superblock
  /** Absent where nothing can be written. */
  readonly writeBack: WriteBack | undefined
  /** How it was opened, for people. */
  readonly config: Readonly<Record<string, unknown>>
}

const DEFAULT_CACHE_BYTES = 16 << 20
const DEFAULT_DIRTY_BYTES = 32 << 20
const DEFAULT_COMMIT_INTERVAL_MS = 5000

/** Opens a store's filesystem, and makes one where the store is empty. @throws CannotOpenError, StoreError. */
export async function assemble(store: Store, options: FileSystemOptions): Promise<Assembly> {
  const { cacheSizeBytes = DEFAULT_CACHE_BYTES, dirtySizeBytes = DEFAULT_DIRTY_BYTES } = options
  const { commitIntervalMs = DEFAULT_COMMIT_INTERVAL_MS, log = pino({ level: 'silent' }) } = options
  const nowNs = systemClock()
  const at = options.at === undefined ? undefined : await findMoment(store, options.at, cacheSizeBytes)
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
  const live = new Tree(identity, connection)
  const bookkeeping = await Bookkeeping.start(superblock, live)
  const gate = new ReadWriteLock()
  const beforePrepare = (): Promise<void> => bookkeeping.prepare()
  const remember = (): (() => Promise<void>) => rememberNodes(live, bookkeeping)
  const intents = store.capabilities.intents
  const writeBack = readOnly
    ? undefined
    : new WriteBack({
        connection,
        intents,
        gate,
        commitIntervalMs,
        dirtySizeBytes,
        log,
        beforePrepare,
        remember,
      })
  const views = new Views({ store, superblock, cacheSizeBytes })
  const context = new Context({ live, views, handles: new Handles(), bookkeeping, writeBack, gate, nowNs })
  const isRepeated = intents !== undefined && !readOnly && (await repeatWrites(intents, context, log))
  if (connection.hasPending || isRepeated) await writeBack?.storeFirst()
  const config = {
    database: store.name,
    readOnly,
    ...(options.at !== undefined && { at: options.at }),
    zblkFormat,
    cacheSizeBytes,
    dirtySizeBytes,
    commitIntervalMs,
  }
  return { context, superblock, writeBack, config }
}

/** Makes the writes again that were synced and are in no transaction. Resolves to whether there were any. */
async function repeatWrites(intents: Intents, context: Context, log: Logger): Promise<boolean> {
  const { entries, isDamaged } = await intents.read()
  const data = new FileData(context)
  for (const entry of entries) for (const write of writesOf(entry)) await data.repeat(write)
  if (entries.length > 0) log.info({ entries: entries.length }, 'synced writes were made again after a crash')
  if (isDamaged)
    log.error(
      { entries: entries.length },
      'the intent log is damaged: synced writes that came behind these entries are lost',
    )
  return entries.length > 0
}

/** What the inodes in use are like now; what it gives takes them back to that, when the connection has aborted. */
function rememberNodes(live: Tree, bookkeeping: Bookkeeping): () => Promise<void> {
  const firstNew = live.connection.nextOid
  const recall = bookkeeping.remember()
  return async () => {
    await recall()
    for (const node of live.nodes) {
      node.revert(bookkeeping.isOrphan(node))
      if (node.oid >= firstNew) node.vanish()
    }
  }
}

type Owner = NonNullable<FileSystemOptions['owner']>

/** The superblock of a database; a new one where the database is empty and can be written. */
async function openSuperblock(connection: Connection, owner: Owner, nowNs: Clock): Promise<Superblock> {
  if (connection.at !== TID_NONE) return await Superblock.open(connection)
  if (connection.readOnly)
    throw new CannotOpenError(`${connection.name} is empty: mount it for writing once to make a filesystem`)
  return await Superblock.create(connection, owner, nowNs())
}

async function findMoment(store: Store, text: string, cacheSizeBytes: number): Promise<Tid> {
  const present = await Connection.open(store, { at: await store.lastTid(), cacheSizeBytes })
  const superblock = await Superblock.open(present)
  return await resolveMoment(store, text, name => superblock.tag(name))
}
