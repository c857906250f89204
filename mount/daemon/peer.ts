/** The process and user at the other end of a Unix socket, as the kernel reports them (SO_PEERCRED). */
import type { Socket } from 'node:net'
import { koffi } from '../../store/koffi.ts'
import type { Caller } from '../../core/file-system/operations.ts'

const SOL_SOCKET = 1
const SO_PEERCRED = 17
/** struct ucred: pid, uid, gid. Source: unix(7). */
const UCRED_BYTES = 12
const UID_OFFSET = 4
const GID_OFFSET = 8

const getsockopt = koffi
  .load(null)
  .func('int getsockopt(int fd, int level, int name, void *value, void *length)') as (
  fd: number,
  level: number,
  name: number,
  value: Buffer,
  length: Buffer,
) => number

/** The process that listens at (or connected to) a socket; undefined if the kernel does not say. */
export function peerOf(socket: Socket): Caller | undefined {
  // Node has no API for it, but its handle has the descriptor.
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } }
  if (handle?.fd === undefined || handle.fd < 0) return undefined
  const credentials = Buffer.alloc(UCRED_BYTES)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(UCRED_BYTES)
  if (getsockopt(handle.fd, SOL_SOCKET, SO_PEERCRED, credentials, length) !== 0) return undefined
  const [pid, uid, gid] = [0, UID_OFFSET, GID_OFFSET].map(offset => credentials.readUInt32LE(offset))
  return pid === undefined || uid === undefined || gid === undefined ? undefined : { pid, uid, gid }
}

/** The user of that process. */
export const peerUid = (socket: Socket): number | undefined => peerOf(socket)?.uid
