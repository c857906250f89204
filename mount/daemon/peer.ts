/** The process and user at the other end of a Unix socket, as the kernel reports them (SO_PEERCRED). */
import type { Socket } from 'node:net'
import koffi from 'koffi'

const SOL_SOCKET = 1
const SO_PEERCRED = 17
/** struct ucred: pid, uid, gid. Source: unix(7). */
const UCRED_BYTES = 12
const UID_OFFSET = 4

const getsockopt = koffi
  .load(null)
  .func('int getsockopt(int fd, int level, int name, void *value, void *length)') as (
  fd: number,
  level: number,
  name: number,
  value: Buffer,
  length: Buffer,
) => number

/** The user of the process that listens at (or connected to) a socket; undefined if the kernel does not say. */
export function peerUid(socket: Socket): number | undefined {
  // Node has no API for it, but its handle has the descriptor.
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } }
  if (handle?.fd === undefined || handle.fd < 0) return undefined
  const credentials = Buffer.alloc(UCRED_BYTES)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(UCRED_BYTES)
  if (getsockopt(handle.fd, SOL_SOCKET, SO_PEERCRED, credentials, length) !== 0) return undefined
  return credentials.readUInt32LE(UID_OFFSET)
}
