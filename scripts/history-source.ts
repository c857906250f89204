/**
 * What the commands about the past work on: a database, named by its file, by its mount, or by a path in its mount.
 * To read it, it is opened beside the daemon, which is not troubled.
 */
import { statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { resolveMoment } from '../store/moments.ts'
import { MomentView } from '../core/history/moment-view.ts'
import { callDaemon } from '../mount/daemon/control-protocol.ts'
import { controlPaths } from '../mount/daemon/control-path.ts'
import { listMounts, ownerOf } from '../mount/daemon/mounts.ts'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { CannotOpenError } from '../store/errors.ts'
import type { Tid } from '../store/ids.ts'
import { recognise } from '../store/recognise.ts'
import { openDatabase } from '../store/open-store.ts'
import type { Store } from '../store/store.ts'
import { CommandError } from './failure.ts'
import { callMount, findMount } from './find-mount.ts'

const STATUS_TIMEOUT_MS = 10_000

/** A database and a place in its tree. */
export interface HistorySource {
  /** The database's file. */
  readonly database: string
  /** Where it is mounted, as far as is known. */
  readonly mount: MountedDirectory | undefined
  /** Relative to the root, one character per byte. */
  readonly path: string
}

/**
 * What a command's arguments mean.
 * @param place a database's file, or a path in a mount.
 * @param path a path within the tree, if the place is a database or a mount's directory.
 * @throws CommandError where the place is neither.
 */
export async function findSource(place: string, path = ''): Promise<HistorySource> {
  if (isRegularFile(place) && (await isDatabase(place)))
    return { database: resolve(place), mount: undefined, path: innerPath(path) }
  const mount = await findMount(place)
  const { database } = await callMount(mount, 'status', {}, STATUS_TIMEOUT_MS)
  const inMount = relative(mount.mountPoint, resolve(place))
  return { database, mount, path: innerPath(`${inMount.startsWith('..') ? '' : inMount}/${path}`) }
}

/** The mount that serves a database for writing, if one does. */
export async function mountOf(database: string): Promise<MountedDirectory | undefined> {
  for (const mount of listMounts()) {
    try {
      const paths = await controlPaths(mount.device, ownerOf(mount))
      const status = await callDaemon(paths, 'status', {}, STATUS_TIMEOUT_MS)
      if (status.database === database && !status.readOnly) return mount
    } catch {
      // Dead, stopped, or somebody else's: not the one that is looked for, as far as anybody can tell.
    }
  }
  return undefined
}

/** Runs `use` with a database opened for reading. @throws CannotOpenError, CommandError */
export async function withStore<T>(database: string, use: (store: Store) => Promise<T>): Promise<T> {
  const kind = await recognise(database)
  if (kind !== 'sqlite')
    throw new CommandError(`${database} is no database of zblkfs: import it first ('zblkfs import')`)
  const store = await openDatabase(database, { readOnly: true })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** The transaction that a person means by WHEN. @throws CommandError where there is none. */
export async function momentOf(store: Store, when: string): Promise<Tid> {
  return await resolveMoment(store, storedName(when), async name =>
    (await MomentView.open(store, await store.lastTid())).superblock.tag(name),
  )
}

/** A path as its tree has it: one character per byte. */
export function innerPath(path: string): string {
  const parts = storedName(path).split('/')
  return parts.filter(part => part !== '' && part !== '.').join('/')
}

/** A name as the database has it: one character per byte. */
export const storedName = (name: string): string => Buffer.from(name, 'utf8').toString('latin1')

/** A path for people. */
export const shownPath = (path: string): string => Buffer.from(path, 'latin1').toString('utf8') || '/'

const isRegularFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true

/** A file in a mount is no database, unless it is one. */
async function isDatabase(path: string): Promise<boolean> {
  try {
    return (await recognise(path)) !== 'none'
  } catch (error) {
    if (error instanceof CannotOpenError) return false
    throw error
  }
}
