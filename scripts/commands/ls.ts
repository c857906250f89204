/** `zblkfs ls DB [PATH]`: a directory of a database, now or at a moment, without a mount. */
import { printablePath, printable } from '../../core/printable.ts'
import { formatTime } from '../../store/moments.ts'
import { constants } from 'node:fs'
import type { Command } from 'commander'
import { Directory } from '../../core/tree/directory.ts'
import type { Inode } from '../../core/tree/inode.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { listPlace } from '../foreign/listing.ts'
import { atMoment } from './at-moment.ts'
import { paged } from '../pager.ts'

const { S_IFMT, S_IFDIR, S_IFLNK } = constants
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

export const lsCommand = (): Command => atMoment('ls', 'List a directory at a moment, without a mount.', show)

async function show(store: Store, tid: Tid, path: string): Promise<void> {
  await (store.isForeign ? listPlace(store, tid, path) : list(await MomentView.open(store, tid), path))
}

async function list(view: MomentView, path: string): Promise<void> {
  const inode = await view.find(path)
  if (inode === undefined)
    throw new CommandError(`there is no ${printablePath(path)} at ${formatTid(view.at)}`)
  await paged(async line => {
    if ((inode.mode & S_IFMT) !== S_IFDIR) {
      await line(asText(inode, path.slice(path.lastIndexOf('/') + 1)))
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
        if (!(await line(asText(child, name)))) return
      }
    }
  })
}

function asText(inode: Inode, name: string): string {
  const { mode, uid, gid, size, target } = inode
  const time = formatTime(Number(inode.time('mtime') / 1_000_000n))
  const link = (mode & S_IFMT) === S_IFLNK ? ` -> ${printable(Buffer.from(target).toString())}` : ''
  const permissions = [6, 3, 0].map(shift => ((mode >> shift) & 7).toString()).join('')
  return `${TYPES[mode & S_IFMT] ?? '?'}${permissions}  ${uid}:${gid}  ${size}  ${time}  ${printablePath(name)}${link}`
}
