/** Open files: reading, and finding data and holes. */
import { constants } from 'node:fs'
import { ErrnoError } from '../../file-system/errno.ts'
import type { Tid } from '../../../store/ids.ts'
import type { Fh, OpenFile } from '../../file-system/operations.ts'
import { withFile, type Context } from './context.ts'
import { LiveView } from './live-view.ts'
import type { Node } from './nodes.ts'

const { O_WRONLY, O_RDWR } = constants

/** @throws ErrnoError EROFS, EISDIR */
export function open({ handles, nodes }: Context, node: Node, flags: number): OpenFile {
  if (flags & (O_WRONLY | O_RDWR)) throw new ErrnoError('EROFS')
  if (node.target.kind !== 'file') throw new ErrnoError('EISDIR')
  const isKnown = !(node.view instanceof LiveView) || node.view.tellsKernel
  const fh = handles.add({ kind: 'file', node: nodes.retain(node), isMappable: false, ignoresAccess: true })
  return { fh, pages: isKnown ? 'keep' : 'drop' }
}

/**
 * Bytes `[off, off + len)`, cut at the file's size, as pieces, which may be in `into`. Undefined if the view is not at `at`, if that is given.
 */
export async function read(
  node: Node,
  off: bigint,
  len: number,
  into?: Uint8Array,
  at?: Tid,
): Promise<readonly Uint8Array[] | undefined> {
  return await withFile(node, async ({ object, data, size }, view) => {
    if (at !== undefined && view.at !== at) return undefined
    const wanted = off >= size ? 0 : Number(size - off < BigInt(len) ? size - off : BigInt(len))
    if (view instanceof LiveView) await view.note(object, off, wanted)
    return wanted === 0 ? [] : await data.read(off, wanted, into)
  })
}

/** @throws ErrnoError ENXIO */
export async function seek(node: Node, off: bigint, whence: 'data' | 'hole'): Promise<bigint> {
  return await withFile(node, async ({ data, size }) => {
    if (off < 0n || off >= size) throw new ErrnoError('ENXIO')
    const found = whence === 'data' ? await data.seekData(off) : await data.seekHole(off, size)
    if (found === undefined || (whence === 'data' && found >= size)) throw new ErrnoError('ENXIO')
    return found
  })
}

/** Closes a file, a directory, or a generated file. @throws ErrnoError EBADF */
export function close({ handles, nodes }: Context, fh: Fh): void {
  const handle = handles.remove(fh)
  if ('node' in handle) nodes.release(handle.node, 1)
}
