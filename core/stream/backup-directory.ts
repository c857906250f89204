/** The directory of a backup: its lock, and how a file gets into it. */
import type { FileHandle } from 'node:fs/promises'
import { link, mkdir, open, rename, rm, stat, unlink } from '../../store/os-files-async.ts'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CodedError, messageOf, StoreError, systemCode } from '../../store/errors.ts'
import { tryLock } from '../../store/flock.ts'
import { TID_NONE } from '../../store/ids.ts'
import { streamFiles, type StreamFile, type StreamKind } from './directory.ts'

/** The name of a file that is being written. */
const PARTIAL = 'partial'
/** How often, and after how long, a stale lock is looked at again that another process looks at. */
const STALE_TRIES = 50
const STALE_RETRY_MS = 20

/** Its parent must exist: the path may be mistyped. @throws StoreError */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, 0o700)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST')
      throw new StoreError(`${path} cannot be created: ${messageOf(error)}`, { cause: error })
  }
}

/** The files of a backup, which are all of one kind. @throws StoreError `other-backup` */
export async function filesOf(directory: string, kind: StreamKind): Promise<readonly StreamFile[]> {
  const files = await streamFiles(directory)
  const other = files.find(file => file.kind !== kind)
  if (other === undefined) return files
  const found = other.kind === 'raw' ? 'raw streams' : 'streams that are not raw'
  throw new StoreError(`${directory} has ${found}`, { code: 'other-backup' })
}

/** @throws StoreError `not-whole` if a file is missing. */
export function assertComplete(directory: string, files: readonly StreamFile[]): void {
  let last: StreamFile | undefined
  for (const file of files) {
    const isNext =
      last === undefined ? file.from === TID_NONE : file.number === last.number + 1 && file.from === last.to
    if (!isNext)
      throw new StoreError(
        `${directory} lacks a file before ${file.path}: put it back, or begin again with a full backup`,
        { code: 'not-whole' },
      )
    last = file
  }
}

/** Writes a file that has no name yet, and syncs it. @throws StoreError */
export async function writePartial(
  directory: string,
  stream: AsyncIterable<Uint8Array>,
): Promise<{ readonly partial: string; readonly length: number }> {
  const partial = join(directory, PARTIAL)
  const file = await open(partial, 'w', 0o600)
  let length = 0
  try {
    for await (const chunk of stream) {
      await file.writeFile(chunk)
      length += chunk.length
    }
    await file.sync()
  } catch (error) {
    await file.close()
    await rm(partial, { force: true })
    if (error instanceof CodedError || systemCode(error) === undefined) throw error
    throw new StoreError(`${directory} cannot be written: ${messageOf(error)}`, {
      code: systemCode(error) === 'ENOSPC' ? 'no-space' : 'failed',
      cause: error,
    })
  }
  await file.close()
  return { partial, length }
}

/** Gives the file of {@link writePartial} its name, which no file may have yet. @throws StoreError */
export async function publish(directory: string, name: string): Promise<void> {
  const [partial, path] = [join(directory, PARTIAL), join(directory, name)]
  try {
    await link(partial, path)
    await unlink(partial)
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw new StoreError(`${path} exists already`, { cause: error })
    // A filesystem without hard links.
    await rename(partial, path)
  }
  await syncDirectory(directory)
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory)
  try {
    await handle.sync()
  } catch (error) {
    // Some network filesystems cannot sync a directory.
    if (systemCode(error) !== 'EINVAL') throw error
  } finally {
    await handle.close()
  }
}

/** Excludes other backups into a directory; the lock of a process that has ended on this machine is replaced. @throws StoreError */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, 'lock')
  for (let tries = 0; ; tries++) {
    try {
      const file = await open(path, 'wx', 0o600)
      await file.writeFile(`${hostname()} ${process.pid}\n`)
      await file.close()
      return () => rm(path, { force: true })
    } catch (error) {
      if (systemCode(error) !== 'EEXIST')
        throw new StoreError(`${directory} cannot be written: ${messageOf(error)}`, { cause: error })
    }
    const holder = await removeStale(path)
    if (holder === undefined) continue
    if (holder === 'busy' && tries < STALE_TRIES) await sleep(STALE_RETRY_MS)
    else throw lockedBy(directory, path, holder)
  }
}

/**
 * Removes the lock of a process that has ended on this machine. Of processes that find it, one at a time looks at it and removes it: the
 * others could remove the lock that the first one makes next.
 * @returns the content of a lock that holds, `busy` while another process looks at it; undefined if there is none any more.
 */
async function removeStale(path: string): Promise<string | undefined> {
  let file: FileHandle
  try {
    // For writing: NFS emulates flock(2) by a lock that requires it.
    file = await open(path, 'r+')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw new StoreError(`${path} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  try {
    if (!tryLock(file.fd)) return 'busy'
    const text = await file.readFile('utf8')
    const [host = '', pid = ''] = text.trim().split(' ')
    if (host !== hostname() || isAlive(Number(pid))) return text.trim()
    const [held, named] = [await file.stat(), await stat(path).catch(() => undefined)]
    if (named?.ino === held.ino && named.dev === held.dev) await rm(path, { force: true })
    return undefined
  } finally {
    await file.close()
  }
}

function lockedBy(directory: string, path: string, holder: string): StoreError {
  const [host, pid] = holder.split(' ')
  const by = pid === undefined ? '' : ` (process ${pid} on ${host})`
  return new StoreError(
    `another backup writes into ${directory}${by}; if it does not run any more, remove ${path}`,
    { code: 'backup-running' },
  )
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}
