/** `zblkfs status`: every mount of this machine, the dead and the stopped ones included. */
import { bytesOf } from '../../store/os-text.ts'
import { printable } from '../../core/printable.ts'
import { formatTime } from '../../store/moments.ts'
import { Command } from 'commander'
import type { ConnectionState } from '../../store/capabilities.ts'
import { type ControlSocket, controlPaths, listSockets } from '../../mount/daemon/control-path.ts'
import { callDaemon, type MountStatus, NoAnswerError } from '../../mount/daemon/control-protocol.ts'
import { isRunning } from '../../mount/daemon/is-running.ts'
import { listMounts, ownerOf } from '../../mount/daemon/mounts.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import { withLineOptions, type LineOptions } from '../line-format.ts'
import { formatBytes } from '../units.ts'

const STATUS_TIMEOUT_MS = 1000

/** A mount as `--json` prints it. */
type MountLine = { readonly directory: string; readonly source: string; readonly device: string } & (
  | ({ readonly state: 'serving' } & MountStatus)
  | ({ readonly state: 'unmounted' } & MountStatus)
  | { readonly state: 'gone' | 'silent' | 'forbidden' | 'failing'; readonly reason: string }
)

export function statusCommand(): Command {
  const command = new Command('status')
    .description('List the mounts and the state of their daemons.')
    .action(async ({ json = false, zero = false }: LineOptions) => {
      const mounts = listMounts()
      const lines = await Promise.all([
        ...mounts.map(inspect),
        ...(await unmounted(mounts)).map(inspectUnmounted),
      ])
      if (json) console.log(JSON.stringify(lines, undefined, 2))
      else if (zero) for (const line of lines.flatMap(describe)) process.stdout.write(bytesOf(`${line}\0`))
      else if (lines.length === 0) console.log('nothing is mounted')
      else for (const line of lines) console.log(describe(line).map(printable).join('\n  '))
    })
  return withLineOptions(command, 'print JSON')
}

async function inspect(mount: MountedDirectory): Promise<MountLine> {
  const known = { directory: mount.mountPoint, source: mount.source, device: mount.device }
  try {
    const paths = await controlPaths(mount.device, ownerOf(mount))
    return { state: 'serving', ...known, ...(await callDaemon(paths, 'status', {}, STATUS_TIMEOUT_MS)) }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { state: error instanceof NoAnswerError ? error.reason : 'failing', ...known, reason }
  }
}

/** The sockets of daemons whose mount is in no place any more, or in another mount namespace. */
async function unmounted(mounts: readonly MountedDirectory[]): Promise<readonly ControlSocket[]> {
  const devices = new Set(mounts.map(({ device }) => device))
  return (await listSockets()).filter(({ device, pid }) => !devices.has(device) && isRunning(pid))
}

async function inspectUnmounted({ path, device, pid }: ControlSocket): Promise<MountLine> {
  try {
    const status = await callDaemon([path], 'status', {}, STATUS_TIMEOUT_MS)
    return { state: 'unmounted', source: status.database, device, ...status }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { state: 'silent', directory: `(process ${pid})`, source: '', device, reason }
  }
}

/** What there is to know of a mount: a line, and one for each trouble. */
function describe(line: MountLine): string[] {
  if (line.state !== 'serving' && line.state !== 'unmounted') {
    const next = line.state === 'forbidden' ? '' : `; 'zblkfs umount -l ${line.directory}' removes it`
    return [`${line.directory}  ${line.source}  ${line.reason}${next}`]
  }
  const { directory, database, driver, readOnly, pid, tid, residentBytes, since, history } = line
  const access = readOnly ? 'read-only' : 'writable'
  const memory = formatBytes(residentBytes)
  const sinceTime = formatTime(Date.parse(since))
  const kept = history === undefined ? '' : `, history ${history}`
  const place = line.state === 'serving' ? '' : 'unmounted, until its last user or its changes are gone, '
  const text = `${directory}  ${database}  ${place}${access}, ${driver}, process ${pid}, ${memory}, transaction ${tid}, since ${sinceTime}${kept}`
  return [text, ...trouble(line), ...(line.clock === undefined ? [] : [line.clock])]
}

/** What keeps a mount from storing. */
function trouble({ failure, isFull, unstoredBytes, directory, connection }: MountStatus): readonly string[] {
  if (connection !== undefined && connection.state !== 'connected') return [describeConnection(connection)]
  if (failure !== undefined) return [`${formatBytes(unstoredBytes)} of changes are not stored: ${failure}`]
  return isFull ? [`its disk is full: remove files, then run 'zblkfs pack --keep 0 ${directory}'`] : []
}

const describeConnection = ({ state, reason = '' }: ConnectionState): string =>
  state === 'fenced'
    ? `CANNOT BE WRITTEN any more: ${reason}; unmount it and mount it again`
    : `its server does not answer: ${reason}`
