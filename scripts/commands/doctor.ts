/** `zblkfs doctor`: checks this machine's requirements for a mount, and prints the remedy for each one that fails. */
import { execFileSync } from 'node:child_process'
import { closeSync, constants } from 'node:fs'
import { openSync, statfsSync } from '../../store/os-files.ts'
import { release } from 'node:os'
import { Command } from 'commander'
import { isRoot } from '../../core/process-owner.ts'
import { printable } from '../../core/printable.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { NoAnswerError } from '../../mount/daemon/no-answer.ts'
import { listMounts, ownerOf } from '../../mount/daemon/mounts.ts'
import { FUSE_DEVICE } from '../../mount/drivers/fuse-device.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import { systemCode } from '../../store/errors.ts'
import { REMEDIES } from '../advice.ts'
import { EXIT_FAILURE } from '../failure.ts'
import { openFilesLimit } from '../open-files.ts'
import { formatBytes } from '../units.ts'
import { shellWord } from '../shell-word.ts'

/** Linux 5.4: the first version with every required FUSE feature (mount/drivers/kernel/abi/init.ts). */
const LINUX_MIN: readonly [number, number] = [5, 4]
/** Minimum limit of open files: a daemon keeps its database, log files and sockets open. Common default of /etc/security/limits.conf. */
const NOFILE_MIN = 256
const ROOM_MIN_BYTES = 64 << 20
const STATUS_TIMEOUT_MS = 1000

interface Finding {
  /** The checked item. */
  readonly what: string
  readonly isGood: boolean
  /** The result. */
  readonly found: string
  /** The remedy; empty if none is needed. */
  readonly next: string
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Check what a mount needs of this machine, and say what to do where something is missing.')
    .argument('[directory]', 'where databases are to be kept', '.')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExit code: 0 everything is there, 1 something is missing.')
    .action(async (directory: string, { json = false }: { readonly json?: boolean }) => {
      const findings = [
        kernel(),
        device(),
        ...(isRoot() ? [] : [fusermount()]),
        node(),
        descriptors(),
        room(directory),
        ...(await Promise.all(listMounts().map(mount))).filter(finding => finding !== undefined),
      ]
      console.log(json ? JSON.stringify(findings, undefined, 2) : findings.map(describe).join('\n'))
      if (findings.some(({ isGood }) => !isGood)) process.exitCode = EXIT_FAILURE
    })
}

const describe = ({ what, isGood, found, next }: Finding): string =>
  printable(`${isGood ? 'ok  ' : 'FAIL'}  ${what}: ${found}${isGood ? '' : `; ${next}`}`)

const finding = (what: string, isGood: boolean, found: string, next: string): Finding => ({
  what,
  isGood,
  found,
  next: isGood ? '' : next,
})

/** Whether a version `MAJOR.MINOR...` is at least another. */
function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [ours = 0, oursMinor = 0] = version.split('.').map(part => Number.parseInt(part, 10))
  return ours > major || (ours === major && oursMinor >= minor)
}

const kernel = (): Finding =>
  finding(
    'kernel',
    isAtLeast(release(), LINUX_MIN),
    `Linux ${release()}`,
    `Linux ${LINUX_MIN.join('.')} or later is needed`,
  )

/** Opens the device: in a container it may exist but be forbidden. */
function device(): Finding {
  try {
    closeSync(openSync(FUSE_DEVICE, constants.O_RDWR))
    return finding(FUSE_DEVICE, true, 'readable and writable', '')
  } catch (error) {
    const code = systemCode(error)
    return code === 'EACCES' || code === 'EPERM'
      ? finding(FUSE_DEVICE, false, 'may not be opened by this user', REMEDIES['device-forbidden'])
      : finding(
          FUSE_DEVICE,
          false,
          code === 'ENOENT' ? 'missing' : `cannot be opened (${String(code)})`,
          REMEDIES['device-missing'],
        )
  }
}

/** The program that mounts for unprivileged users (mount/drivers/kernel/mount-as-user.ts). */
function fusermount(): Finding {
  const what = 'fusermount3'
  try {
    const version = execFileSync(what, ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return finding(what, true, version.trim(), '')
  } catch {
    return finding(what, false, 'missing', REMEDIES['fusermount-missing'])
  }
}

function node(): Finding {
  const wanted = /(\d+)(?:\.(\d+))?/.exec(packageJson.engines.node)
  const needed: readonly [number, number] = [Number(wanted?.[1] ?? 0), Number(wanted?.[2] ?? 0)]
  return finding(
    'Node.js',
    isAtLeast(process.versions.node, needed),
    process.versions.node,
    `Node.js ${packageJson.engines.node} is needed`,
  )
}

function descriptors(): Finding {
  const { text, limit } = openFilesLimit()
  return finding(
    'open files',
    !(limit < NOFILE_MIN),
    `at most ${text}`,
    `raise the limit with 'ulimit -n 1024', or in /etc/security/limits.conf`,
  )
}

function room(directory: string): Finding {
  const what = `disk of ${directory}`
  try {
    const { bavail, bsize } = statfsSync(directory)
    const free = bavail * bsize
    return finding(
      what,
      free >= ROOM_MIN_BYTES,
      `${formatBytes(free)} free`,
      'make room, or keep databases elsewhere',
    )
  } catch (error) {
    return finding(what, false, `cannot be read (${String(systemCode(error))})`, 'check the name')
  }
}

/** The remedy for a mount that does not answer or cannot store; undefined if none is needed. */
async function mount(place: MountedDirectory): Promise<Finding | undefined> {
  const { mountPoint, device, source } = place
  const what = `mount ${mountPoint} of ${source}`
  try {
    const status = await callDaemon(
      await controlPaths(device, ownerOf(place)),
      'status',
      {},
      STATUS_TIMEOUT_MS,
    )
    if (status.failure !== undefined)
      return finding(what, false, `changes are not stored: ${status.failure}`, "see 'zblkfs status'")
    return status.isFull
      ? finding(
          what,
          false,
          'its disk is full',
          `remove files, then run 'zblkfs pack --keep 0 ${shellWord(mountPoint)}'`,
        )
      : finding(what, true, 'serving', '')
  } catch (error) {
    if (!(error instanceof NoAnswerError) || error.reason === 'forbidden') return undefined
    // A daemon that cannot be called may run: then -l would detach the mount from its users.
    const how = error.reason === 'unreachable' ? '' : '-l '
    return finding(
      what,
      false,
      error.message,
      `remove it with 'zblkfs umount ${how}${shellWord(mountPoint)}'`,
    )
  }
}
