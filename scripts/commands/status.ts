/** `zblkfs status`: every mount of this machine, the dead and the stopped ones included. */
import { bytesOf } from '../../store/os-text.ts'
import { printable } from '../../core/printable.ts'
import { CodedError, fromWire } from '../../store/errors.ts'
import { formatTime } from '../../store/moments.ts'
import { Command } from 'commander'
import type { ConnectionState } from '../../store/capabilities.ts'
import { type ControlSocket, controlPaths, listSockets } from '../../mount/daemon/control-path.ts'
import { NoAnswerError } from '../../mount/daemon/no-answer.ts'
import type { MountStatus } from '../../mount/daemon/call-results.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import type { Problem } from '../../mount/daemon/problems.ts'
import { processOwner } from '../../core/process-owner.ts'
import { explain } from '../advice.ts'
import { lastLogged } from '../log-file.ts'
import { isRunning } from '../../mount/daemon/is-running.ts'
import { listMounts, ownerOf } from '../../mount/daemon/mounts.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import { withLineOptions, type LineOptions } from '../line-format.ts'
import { formatBytes } from '../units.ts'
import { shellWord } from '../shell-word.ts'

const STATUS_TIMEOUT_MS = 1000

/** A mount as `--json` prints it. */
type MountLine = { readonly directory: string; readonly source: string; readonly device: string } & (
  | ({ readonly state: 'serving' } & MountStatus)
  | ({ readonly state: 'unmounted' } & MountStatus)
  | {
      readonly state: NoAnswerError['reason'] | 'failing'
      readonly reason: string
      readonly log?: string
      readonly lastLogged?: string
    }
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
      else console.log(lines.map(block).join('\n\n'))
    })
  return withLineOptions(command, 'print JSON')
}

async function inspect(mount: MountedDirectory): Promise<MountLine> {
  const known = { directory: mount.mountPoint, source: mount.source, device: mount.device }
  try {
    const paths = await controlPaths(mount.device, ownerOf(mount))
    const status = await callDaemon(paths, 'status', {}, STATUS_TIMEOUT_MS)
    // A bind mount has the daemon of the mount, and its own directory.
    return { ...status, state: 'serving', ...known }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const state = error instanceof NoAnswerError ? error.reason : 'failing'
    const logged = state === 'gone' && ownerOf(mount) === processOwner().uid && lastLogged(mount.mountPoint)
    return { state, ...known, reason, ...(logged && { log: logged.path, lastLogged: logged.text }) }
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
    return { state: 'silent', directory: `(unmounted, process ${pid})`, source: '', device, reason }
  }
}

/** Whether no mount is known of a daemon that does not answer. */
const isUnmounted = ({ source }: MountLine): boolean => source === ''

const LABEL_WIDTH = 13

/** A mount as text: its directory, then a line for each fact. */
function block(line: MountLine): string {
  const facts = factsOf(line).map(([name, text]) => `  ${name.padEnd(LABEL_WIDTH)}${printable(text)}`)
  return [printable(line.directory), ...facts].join('\n')
}

/** The facts about a mount, for programs: a line, and one for each problem. */
function describe(line: MountLine): string[] {
  const facts = factsOf(line)
  const isTrouble = ([name]: Fact): boolean => TROUBLES.has(name)
  const usual = facts.filter(fact => !isTrouble(fact)).map(([, text]) => text)
  return [[line.directory, ...usual].join('  '), ...facts.filter(isTrouble).map(([, text]) => text)]
}

type Fact = readonly [name: string, text: string]

/** The facts about problems. */
const TROUBLES = new Set([
  'not stored',
  'disk',
  'server',
  'clock',
  'last error',
  'last warning',
  'last logged',
])

function factsOf(line: MountLine): readonly Fact[] {
  if (line.state !== 'serving' && line.state !== 'unmounted') {
    const next =
      line.state === 'forbidden' || isUnmounted(line)
        ? ''
        : `; 'zblkfs umount ${line.state === 'unreachable' ? '' : '-l '}${shellWord(line.directory)}' removes it`
    const { log, lastLogged } = line
    return [
      ['database', line.source],
      ['state', `${line.reason}${next}`],
      ...(lastLogged === undefined ? [] : [['last logged', `${lastLogged}; see ${log}`] as const]),
    ]
  }
  const { database, driver, readOnly, pid, tid, residentBytes, since, history, lease } = line
  const access = readOnly ? 'read-only' : 'writable'
  const place = line.state === 'serving' ? '' : 'unmounted, until its last user or its changes are gone, '
  return [
    ['database', database],
    ['state', `${place}${access}, driver ${driver}, since ${formatTime(Date.parse(since))}`],
    ['transaction', tid],
    ...(history === undefined ? [] : [['history', `kept: ${history}`] as const]),
    ['daemon', `process ${pid}, ${formatBytes(residentBytes)}`],
    ...(lease === undefined || lease === 'lost' ? [] : [['lease', LEASES[lease]] as const]),
    ...troublesOf(line),
  ]
}

/** What keeps a mount from storing, and what went wrong last. */
function troublesOf(status: MountStatus): readonly Fact[] {
  const { failure, isFull, unstoredBytes, directory, connection, clock, problem } = status
  const facts: Fact[] = []
  if (connection !== undefined && connection.state !== 'connected')
    facts.push(['server', describeConnection(connection, directory)])
  else if (failure !== undefined)
    facts.push(['not stored', `${formatBytes(unstoredBytes)} of changes are not stored: ${failure}`])
  else if (isFull)
    facts.push([
      'disk',
      `its disk is full: remove files, then run 'zblkfs pack --keep 0 ${shellWord(directory)}'`,
    ])
  if (clock !== undefined) facts.push(['clock', clock])
  if (problem !== undefined) facts.push(describeProblem(problem))
  return facts
}

function describeProblem({ time, level, message, error: wire }: Problem): Fact {
  const error = wire === undefined ? undefined : fromWire(wire)
  const cause =
    error === undefined ? '' : ` (${error instanceof CodedError ? explain(error) : error.message})`
  return [
    level === 'warn' ? 'last warning' : 'last error',
    `${formatTime(Date.parse(time))}: ${message}${cause}`,
  ]
}

/** Of a database that several mounts write in turns. */
const LEASES = { held: 'held: this mount was the last to write', 'not held': 'not held' } as const

const describeConnection = ({ state, reason = '' }: ConnectionState, directory: string): string =>
  state === 'fenced'
    ? `CANNOT BE WRITTEN any more: ${reason}; 'zblkfs rescue ${shellWord(directory)} TARGET' copies what is not stored, then 'zblkfs rejoin ${shellWord(directory)}'`
    : `its server does not answer: ${reason}`
