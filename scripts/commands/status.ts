/** `zblkfs status`: every mount of this machine, the dead and the stopped ones included. */
import { printable } from '../../core/printable.ts'
import { formatTime } from '../../store/moments.ts'
import { Command } from 'commander'
import type { ConnectionState } from '../../store/capabilities.ts'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon, type MountStatus, NoAnswerError } from '../../mount/daemon/control-protocol.ts'
import { listMounts, ownerOf } from '../../mount/daemon/mounts.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import { formatBytes } from '../units.ts'

const STATUS_TIMEOUT_MS = 1000

/** A mount as `--json` prints it. */
type MountLine = { readonly directory: string; readonly source: string; readonly device: string } & (
  | ({ readonly state: 'serving' } & MountStatus)
  | { readonly state: 'gone' | 'silent' | 'forbidden' | 'failing'; readonly reason: string }
)

export function statusCommand(): Command {
  return new Command('status')
    .description('List the mounts, what serves them, and whether it answers.')
    .option('--json', 'as JSON')
    .action(async ({ json = false }: { readonly json?: boolean }) => {
      const lines = await Promise.all(listMounts().map(inspect))
      if (json) console.log(JSON.stringify(lines, undefined, 2))
      else console.log(lines.length === 0 ? 'nothing is mounted' : lines.map(describe).join('\n'))
    })
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

function describe(line: MountLine): string {
  if (line.state !== 'serving') {
    const next = line.state === 'forbidden' ? '' : `; 'zblkfs umount -l ${line.directory}' takes it away`
    return printable(`${line.directory}  ${line.source}  ${line.reason}${next}`)
  }
  const { directory, database, driver, readOnly, pid, tid, residentBytes, since, history, connection } = line
  const access = readOnly ? 'read-only' : 'writable'
  const memory = formatBytes(residentBytes)
  const sinceTime = formatTime(Date.parse(since))
  const kept = history === undefined ? '' : `, history ${history}`
  const trouble =
    connection === undefined || connection.state === 'connected' ? '' : `; ${describeConnection(connection)}`
  return printable(
    `${directory}  ${database}  ${access}, ${driver}, process ${pid}, ${memory}, transaction ${tid}, since ${sinceTime}${kept}${trouble}`,
  )
}

const describeConnection = ({ state, reason = '' }: ConnectionState): string =>
  state === 'fenced'
    ? `CANNOT BE WRITTEN any more: ${reason}; unmount it and mount it again`
    : `its server does not answer: ${reason}`
