/** `zblkfs ls DB [PATH]`: a directory of a database, now or at a moment, without a mount. */
import { decodedPath, printablePath } from '../../core/printable.ts'
import { formatTime } from '../../store/moments.ts'
import { constants } from 'node:fs'
import type { Command } from 'commander'
import { Directory } from '../../core/tree/directory.ts'
import { type Inode, isDirectory, isSymbolicLink, typeOf } from '../../core/tree/inode.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { lineFormat, withLineOptions, type LineFormat, type LineOptions } from '../line-format.ts'
import { listPlace } from '../foreign/listing.ts'
import { atMoment } from './at-moment.ts'
import { paged } from '../pager.ts'

const { S_IFDIR, S_IFLNK } = constants
const TYPES: Readonly<Record<number, string>> = {
  [S_IFDIR]: 'd',
  [constants.S_IFREG]: '-',
  [S_IFLNK]: 'l',
  [constants.S_IFIFO]: 'p',
  [constants.S_IFSOCK]: 's',
  [constants.S_IFCHR]: 'c',
  [constants.S_IFBLK]: 'b',
}
const BATCH = 256

export const lsCommand = (): Command =>
  withLineOptions(
    atMoment('ls', 'List a directory at a moment, without a mount.', show),
    'print one line of JSON per entry',
  )

async function show(store: Store, tid: Tid, path: string, options: LineOptions): Promise<void> {
  if (store.isForeign) await listPlace(store, tid, path, options)
  else await list(await MomentView.open(store, tid), path, options)
}

async function list(view: MomentView, path: string, options: LineOptions): Promise<void> {
  const format = lineFormat(options)
  const entryLine = (inode: Inode, name: string): string =>
    options.json === true ? asJson(inode, name) : asText(inode, name, format)
  const inode = await view.find(path)
  if (inode === undefined)
    throw new CommandError(`there is no ${printablePath(path)} at ${formatTid(view.at)}`)
  await paged(async line => {
    if (!isDirectory(inode)) {
      await line(entryLine(inode, path.slice(path.lastIndexOf('/') + 1)))
      return
    }
    for (let after: string | undefined; ;) {
      await inode.activate()
      const entries = await Directory.of(view.connection, inode).after(after, BATCH)
      if (entries.length === 0) return
      for (const { name, oid } of entries) {
        after = name
        const child = await view.inode(oid)
        if (child === undefined) throw view.connection.corrupt(oid, `${printablePath(name)} leads to nothing`)
        if (!(await line(entryLine(child, name)))) return
      }
    }
  }, format)
}

/** The types of inodes in JSON. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  d: 'directory',
  '-': 'file',
  l: 'symlink',
  p: 'fifo',
  s: 'socket',
  c: 'character device',
  b: 'block device',
}

function asJson(inode: Inode, name: string): string {
  const { mode, uid, gid, nlink, size, target } = inode
  const type = TYPES[typeOf({ mode })] ?? '?'
  return JSON.stringify({
    name: decodedPath(name),
    type: TYPE_NAMES[type] ?? 'unknown',
    mode: mode.toString(8),
    uid,
    gid,
    nlink,
    // A size may be beyond what every reader's numbers hold.
    size: String(size),
    mtime: new Date(Number(inode.time('mtime') / 1_000_000n)).toISOString(),
    ...(type === 'l' && { target: Buffer.from(target).toString() }),
  })
}

function asText(inode: Inode, name: string, format: LineFormat): string {
  const { mode, uid, gid, size, target } = inode
  const time = formatTime(Number(inode.time('mtime') / 1_000_000n))
  const link = isSymbolicLink({ mode }) ? ` -> ${format.name(Buffer.from(target).toString('latin1'))}` : ''
  const permissions = [6, 3, 0].map(shift => ((mode >> shift) & 7).toString()).join('')
  return `${TYPES[typeOf({ mode })] ?? '?'}${permissions}  ${uid}:${gid}  ${size}  ${time}  ${format.name(name)}${link}`
}
