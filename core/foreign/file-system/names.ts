/** Looks up names: in directories of the database, files by oid, and moments of the past. */
import type { Connection } from '../../objects/connection.ts'
import { classOfRecord, DATA_HEAD_MAX } from '../../objects/record.ts'
import { ZBigFile } from '../../zblk/zbigfile.ts'
import { formatOid, formatTid, parseOid, type Oid, type Tid } from '../../../store/ids.ts'
import { findMoment } from '../../../store/moments.ts'
import { ErrnoError } from '../../file-system/errno.ts'
import { MOMENT_PREFIX } from '../../file-system/reserved-names.ts'
import { DOT, DOT_DOT, type Entry, type Name, name as toName } from '../../file-system/operations.ts'
import { readArray } from '../array.ts'
import type { ForeignEntry } from '../naming.ts'
import { entryOf } from './attributes.ts'
import { openDirectory, type Context } from './context.ts'
import { targetOf, type Node, type Target } from './nodes.ts'

/** @throws ErrnoError ENOENT, ENOTDIR */
export async function lookup(context: Context, directory: Node, name: Name): Promise<Entry> {
  const { nodes } = context
  if (directory === nodes.root && name.startsWith(MOMENT_PREFIX)) return await lookupMoment(context, name)
  if (name === DOT) return await entryOf(context, nodes.retain(directory))
  if (name === DOT_DOT) return await entryOf(context, nodes.retain(directory.parent ?? directory))
  const target = await find(context, directory, name)
  if (target === undefined) throw new ErrnoError('ENOENT')
  return await entryOf(context, nodes.refer(directory, name, target))
}

/** A ZODB database has no tags. */
export const noTags = (): Promise<undefined> => Promise.resolve(undefined)

async function lookupMoment(context: Context, name: Name): Promise<Entry> {
  const { store } = context
  const text = Buffer.from(name, 'latin1').toString('utf8').slice(MOMENT_PREFIX.length)
  const at = await findMoment(store, text, noTags)
  if (at === undefined) throw new ErrnoError('ENOENT')
  return await entryOf(context, referToMoment(context, at))
}

/** Adds a reference to the directory of a moment. */
export function referToMoment({ past, nodes, layout }: Context, at: Tid): Node {
  return nodes.refer(nodes.root, toName(`${MOMENT_PREFIX}${formatTid(at)}`), layout.moment, past.get(at))
}

/** The target of a name in a directory. */
async function find(context: Context, { target, view }: Node, name: Name): Promise<Target | undefined> {
  if (target.kind === 'fixed') return target.entries.find(([known]) => known === name)?.[1]
  if (target.kind !== 'bigfiles' && target.kind !== 'directory') throw new ErrnoError('ENOTDIR')
  return await view.use(async connection => {
    if (target.kind === 'bigfiles') {
      const file = parseOid(name)
      if (file === undefined || formatOid(file) !== name) return undefined
      return (await isBigFile(connection, file)) ? { kind: 'file', file } : undefined
    }
    const entry = await (await openDirectory(context, connection, target.ref)).get(name)
    return entry === undefined ? undefined : await resolveTarget(connection, entry)
  })
}

async function resolveTarget(connection: Connection, entry: ForeignEntry): Promise<Target> {
  if (entry.kind !== 'array') return targetOf(entry)
  return targetOf(entry, (await readArray(connection, entry.ref.oid)).zfile.oid)
}

/** Reads the record's class first: an object must not be loaded as another class. */
async function isBigFile(connection: Connection, oid: Oid): Promise<boolean> {
  const part = await connection.records.start(oid, DATA_HEAD_MAX)
  return part !== undefined && classOfRecord(part.bytes) === ZBigFile.CLASS_NAME
}
