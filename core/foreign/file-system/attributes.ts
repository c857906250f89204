/**
 * Attributes and extended attributes. A database does not record when a file last changed: all times are those of the
 * transaction shown.
 */
import { constants } from 'node:fs'
import { formatOid, timeFromTid, type Tid } from '../../../store/ids.ts'
import type { Attributes, Entry } from '../../file-system/operations.ts'
import { readArray, type ForeignArray } from '../array.ts'
import { openForeignFile } from '../file.ts'
import { withFile, type Context } from './context.ts'
import { isDirectoryTarget, type Node } from './nodes.ts'

const BLKSIZE = 65_536
const STAT_BLOCK_BYTES = 512n

const { S_IFDIR, S_IFREG } = constants
/** The size shown for a generated file, whose length is known when it is read. */
const GENERATED_BYTES = 4096n

/** A transaction's time in nanoseconds since 1970. */
export const timeNs = (tid: Tid): bigint => BigInt(Math.round(timeFromTid(tid) * 1000)) * 1000n

export async function attributesOf({ owner }: Context, node: Node): Promise<Attributes> {
  const { ino, target, view } = node
  const size = await sizeOf(node)
  const time = timeNs(view.at)
  return {
    ...owner,
    ino,
    mode: isDirectoryTarget(target) ? S_IFDIR | 0o555 : S_IFREG | (target.kind === 'watch' ? 0o666 : 0o444),
    // Subdirectories are not counted. A link count of 1 makes find(1) read the directory to search for them.
    nlink: 1,
    rdev: 0,
    size,
    blocks: Number((size + STAT_BLOCK_BYTES - 1n) / STAT_BLOCK_BYTES),
    blksize: BLKSIZE,
    atimeNs: time,
    mtimeNs: time,
    ctimeNs: time,
    birthtimeNs: time,
    validity: view.isLive ? 'briefly' : 'forever',
  }
}

async function sizeOf(node: Node): Promise<bigint> {
  if (node.target.kind === 'file') return await withFile(node, async ({ size }) => size)
  return node.target.kind === 'generated' ? GENERATED_BYTES : 0n
}

/** The entry of a node that has just been given a reference, which is released if this fails. */
export async function entryOf(context: Context, node: Node): Promise<Entry> {
  try {
    const attributes = await attributesOf(context, node)
    return { attributes, generation: 0, nameValidity: attributes.validity }
  } catch (error) {
    context.nodes.release(node, 1)
    throw error
  }
}

/** A file's oid and block size, and its array type if it has one. */
export async function xattrsOf({ target, view }: Node): Promise<Map<string, string>> {
  const xattrs = new Map<string, string>()
  if (target.kind !== 'file') return xattrs
  const { file, array } = target
  await view.use(async connection => {
    const { data } = await openForeignFile(connection, file)
    xattrs.set('user.zblkfs.oid', formatOid(file))
    xattrs.set('user.zblkfs.blksize', String(data.blksize))
    if (array !== undefined) describeArray(await readArray(connection, array), xattrs)
  })
  return xattrs
}

function describeArray({ dtype, shape, strides, order }: ForeignArray, xattrs: Map<string, string>): void {
  if (dtype !== undefined) xattrs.set('user.zblkfs.dtype', dtype)
  if (shape !== undefined) xattrs.set('user.zblkfs.shape', shape.join(','))
  if (strides !== undefined) xattrs.set('user.zblkfs.strides', strides.join(','))
  xattrs.set('user.zblkfs.order', order)
}
