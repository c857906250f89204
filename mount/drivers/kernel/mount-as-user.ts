/**
 * Mounting through fusermount3, for ordinary users: it is setuid root, mounts, and passes the descriptor of /dev/fuse
 * back over a socket whose number is in _FUSE_COMMFD (one byte with SCM_RIGHTS).
 */
import { spawn } from 'node:child_process'
import { closeSync, constants as fsConstants } from 'node:fs'
import { accessSync } from '../../../store/os-files.ts'
import { text } from 'node:stream/consumers'
import { startable } from '../../../store/os-command.ts'
import { MountError, type MountOptions } from '../driver.ts'
import { deviceError, FUSE_DEVICE } from '../fuse-device.ts'
import { addressOf, fcntl, recvmsg, socketpair } from './system-calls.ts'

const FUSERMOUNT = 'fusermount3'

/** Source: linux/socket.h, linux/fcntl.h. */
const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_CLOEXEC = 0o2000000
const MSG_DONTWAIT = 0x40
const MSG_CMSG_CLOEXEC = 0x40000000
const F_SETFL = 4

/**
 * Mounts at `mountPoint`, a real path.
 * @returns the descriptor of /dev/fuse on which the mount is served, non-blocking.
 * @throws MountError.
 */
export async function mountAsUser(mountPoint: string, options: MountOptions): Promise<number> {
  try {
    accessSync(FUSE_DEVICE, fsConstants.R_OK | fsConstants.W_OK)
  } catch (error) {
    throw deviceError(error)
  }
  const pair = new Int32Array(2)
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) !== 0)
    throw new MountError('socketpair(2) failed: raise the limit on open files (ulimit -n)')
  const [ours = -1, theirs = -1] = pair
  try {
    const output = await runFusermount(['-o', mountOptionsText(options), '--', mountPoint], theirs)
    if (output.exitCode !== 0) throw refusal(mountPoint, output.stderr)
    const fd = receiveDescriptor(ours)
    if (fd === undefined) throw new MountError(`${FUSERMOUNT} mounted ${mountPoint} but passed no descriptor`)
    fcntl(fd, F_SETFL, fsConstants.O_RDWR | fsConstants.O_NONBLOCK)
    return fd
  } finally {
    closeSync(ours)
    closeSync(theirs)
  }
}

interface Output {
  readonly exitCode: number | null
  readonly stderr: string
}

async function runFusermount(parameters: readonly string[], socket: number): Promise<Output> {
  const [program = '', ...words] = startable([FUSERMOUNT, ...parameters])
  const child = spawn(program, words, {
    stdio: ['ignore', 'ignore', 'pipe', socket],
    env: { ...process.env, _FUSE_COMMFD: '3' },
  })
  const exit = new Promise<number | null>((resolve, reject) => {
    child.once('error', error =>
      reject(
        new MountError(`${FUSERMOUNT} cannot be run (${error.message})`, {
          code: 'fusermount-missing',
          cause: error,
        }),
      ),
    )
    child.once('close', resolve)
  })
  const [exitCode, stderr] = await Promise.all([exit, child.stderr ? text(child.stderr) : ''])
  return { exitCode, stderr: stderr.trim() }
}

/** The value of -o. fusermount3 sets nosuid and nodev by default; only root may clear them. */
function mountOptionsText(options: MountOptions): string {
  return [
    `fsname=${options.source.replaceAll(/[\\,]/g, String.raw`\$&`)}`,
    'subtype=zblkfs',
    'default_permissions',
    ...(options.readOnly ? ['ro'] : []),
    ...(options.suid ? ['suid'] : []),
    ...(options.dev ? ['dev'] : []),
    ...(options.noExec ? ['noexec'] : []),
    ...(options.noAtime ? ['noatime'] : []),
    ...(options.allowOther ? ['allow_other'] : []),
  ].join(',')
}

function refusal(mountPoint: string, stderr: string): MountError {
  if (stderr.includes('user_allow_other'))
    return new MountError(
      "allow_other is refused: only root may use it unless /etc/fuse.conf has the line 'user_allow_other'",
    )
  if (/Operation not permitted/.test(stderr))
    return new MountError(
      `${FUSERMOUNT} may not mount (${stderr}): it must be owned by root and setuid ('chmod u+s'), as the ` +
        'package fuse3 installs it',
    )
  return new MountError(`${FUSERMOUNT} cannot mount ${mountPoint}: ${stderr}`)
}

/**
 * Receives one descriptor, close-on-exec; undefined if none was sent.
 *
 * struct msghdr (56 bytes): name, u32 namelen, iov, iovlen, control, controllen, flags, 8 bytes each. struct iovec (16): address, length.
 * struct cmsghdr (24): u64 len, u32 level, u32 type, then the descriptor in 4 bytes. All are parts of one buffer: the garbage collector
 * cannot free one of them before the call.
 */
function receiveDescriptor(socket: number): number | undefined {
  const [vectorAt, controlAt, byteAt] = [56, 72, 96]
  const memory = new DataView(new ArrayBuffer(104))
  const address = addressOf(memory)
  const put = (at: number, ...values: readonly bigint[]): void => {
    for (const [index, value] of values.entries()) memory.setBigUint64(at + 8 * index, value, true)
  }
  put(16, address + BigInt(vectorAt), 1n, address + BigInt(controlAt), BigInt(byteAt - controlAt))
  put(vectorAt, address + BigInt(byteAt), 1n)
  const received = recvmsg(socket, memory, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
  const hasDescriptor = received > 0 && memory.getBigUint64(controlAt, true) === 20n
  return hasDescriptor ? memory.getInt32(controlAt + 16, true) : undefined
}
