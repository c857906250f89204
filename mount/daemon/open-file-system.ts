/** Opens what is to be mounted: the store, whose kind depends on the file's content, and its filesystem. */
import type { Logger } from 'pino'
import { CannotOpenError } from '../../store/errors.ts'
import { openStore } from '../../store/open-store.ts'
import type { Store } from '../../store/store.ts'
import { isOnServer } from '../../store/recognise.ts'
import type { Capabilities, Pinning } from '../../store/capabilities.ts'
import type { FileLocking } from '../../store/file-locking.ts'
import { FileSystem } from '../../core/file-system/file-system.ts'
import { watchClock } from './clock-watch.ts'
import { pageWriteBack } from './page-write-back.ts'
import { MountPacker } from './mount-packer.ts'
import type { MountSettings } from './mount-settings.ts'
import type { ServedFileSystem } from '../../core/file-system/served-file-system.ts'

/** Default length of the cache of a bucket's bytes on the disk. */
const CACHE_DISK_BYTES = 1 << 30

/** How often a read-only mount checks whether it has opened other moments. */
const PIN_INTERVAL_MS = 1000

export interface OpenedFileSystem {
  readonly fileSystem: ServedFileSystem
  /** The settings in effect for this database: an external ZODB database is read-only. */
  readonly settings: MountSettings
  /** Absent for an external ZODB database and for a read-only mount, which cannot be packed. */
  readonly packer?: MountPacker
  /** Of the store. */
  readonly capabilities: Capabilities
}

/**
 * Opens the filesystem in `settings.database`; creates a database if there is none, unless the mount is read-only.
 * @throws CannotOpenError with cause and next step.
 */
export async function openFileSystem(settings: MountSettings, log: Logger): Promise<OpenedFileSystem> {
  const { database, directory, readOnly, bulk, cacheDirectory } = settings
  const { cacheDiskBytes = CACHE_DISK_BYTES } = settings
  if (settings.locks === 'global' && !isOnServer(database)) throw noGlobalLocks(database)
  const store = await openStore(database, {
    readOnly,
    create: settings.layout === undefined,
    purpose: `mounted at ${directory}`,
    keepsOpen: true,
    // Others' changes can be shown only by a driver that invalidates what the kernel has cached.
    isShared: settings.driver !== 'fuse-native',
    compression: settings.compression,
    encryption: settings.encryption,
    warn: message => log.warn(message),
    ...(bulk !== undefined && { bulk }),
    bulkCache: {
      maxBytes: cacheDiskBytes,
      ...(cacheDirectory !== undefined && { directory: cacheDirectory }),
    },
  })
  try {
    if (store.isForeign) return await openForeign(store, settings, log)
    if (settings.layout !== undefined)
      throw new CannotOpenError(`${database} is not a ZODB database: only these have a choice of layouts`, {
        code: 'not-a-database',
        path: database,
      })
    const writeBackPages = pageWriteBack(directory, log)
    const { capabilities } = store
    const { dating, leasing, pinning, watching } = capabilities
    const locking = await lockingOf(settings, capabilities)
    const isShared = leasing !== undefined && !(await leasing.isAlone())
    const fileSystem = await FileSystem.open(store, { ...settings, isShared, log, writeBackPages })
    if (dating !== undefined) watchClock(dating, log)
    // The database of a branch is packed by another process.
    if ((store.readOnly || capabilities.branch !== undefined) && pinning !== undefined)
      await keepPinned(store.name, pinning, fileSystem, log)
    if (store.readOnly) {
      const follows = settings.at === undefined && watching !== undefined
      const served = follows ? fileSystem.following(watching, log) : fileSystem
      return { fileSystem: served, settings, capabilities }
    }
    const packer = await MountPacker.of(store, fileSystem, log)
    if (settings.history !== undefined) await packer?.setRetention(settings.history)
    if (leasing !== undefined && watching !== undefined) {
      if (pinning !== undefined) await keepPinned(store.name, pinning, fileSystem, log)
      const isFresh = settings.fresh !== 'lag'
      const served = fileSystem.sharing(leasing, watching, { log, isFresh, locking })
      return { fileSystem: served, settings, capabilities, ...(packer !== undefined && { packer }) }
    }
    return { fileSystem, settings, capabilities, ...(packer !== undefined && { packer }) }
  } catch (error) {
    await store.close()
    throw error
  }
}

async function openForeign(store: Store, settings: MountSettings, log: Logger): Promise<OpenedFileSystem> {
  // 18 modules, which other mounts start without.
  const { ZodbFileSystem } = await import('../../core/foreign/file-system/zodb-file-system.ts')
  return {
    fileSystem: await ZodbFileSystem.open(store, { ...settings, log }),
    settings: { ...settings, readOnly: true },
    capabilities: store.capabilities,
  }
}

/** What `locks=global` needs; undefined without it. @throws CannotOpenError */
async function lockingOf(
  { locks, database }: MountSettings,
  { fileLocking }: Capabilities,
): Promise<FileLocking | undefined> {
  if (locks !== 'global') return undefined
  if (fileLocking === undefined) throw noGlobalLocks(database)
  await fileLocking.start()
  return fileLocking
}

const noGlobalLocks = (database: string): CannotOpenError =>
  new CannotOpenError(
    `locks=global is for mounts that write a database on a server: flock and fcntl locks of ${database} hold among the programs of this machine, without this option`,
    { path: database },
  )

/** Announces the moments read here to packs of the writing process. */
async function keepPinned(
  database: string,
  pinning: Pinning,
  fileSystem: FileSystem,
  log: Logger,
): Promise<void> {
  let pinned = fileSystem.openTids
  if (!(await pinning.pin(pinned))) {
    log.warn(`the directory of ${database} cannot be written: moments read here may be packed away meanwhile`)
    return
  }
  const timer = setInterval(() => {
    const moments = fileSystem.openTids
    if (moments.join() === pinned.join()) return
    pinned = moments
    pinning.pin(moments).catch((error: unknown) => {
      log.debug({ err: error }, 'moments in use were not pinned')
      clearInterval(timer)
    })
  }, PIN_INTERVAL_MS)
  timer.unref()
}
