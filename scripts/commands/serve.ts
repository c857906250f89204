/** `zblkfs serve [DB|DIR]`: a database without FUSE, as block devices, over 9P, or over WebDAV. */
import { Command, Option } from 'commander'
import { Database } from '../../core/database/database.ts'
import type { ServedFileSystem } from '../../core/file-system/served-file-system.ts'
import { textOfStored } from '../../core/stored-names.ts'
import { processOwner } from '../../core/process-owner.ts'
import { openHere, openServed } from '../../mount/daemon/open-database.ts'
import { Problems } from '../../mount/daemon/problems.ts'
import { servingMount } from '../../mount/daemon/serving-mount.ts'
import type { RunningServer } from '../serve/server.ts'
import { UsageError } from '../failure.ts'
import { findSource } from '../history-source.ts'
import type { Access } from '../own-links.ts'
import { logToTerminal } from '../log.ts'
import { LOG_LEVELS, type LogLevel } from '../log-file.ts'
import { say } from '../say.ts'
import { listenPlace, PROTOCOLS, protocolOf, type ServeOptions } from '../serve/protocols.ts'

const UMASK = 0o022

const NOTES = `
PLACE is HOST:PORT, a PORT of 127.0.0.1, or the path of a Unix socket, which only you may use. NBD and 9P have no authentication: they
listen on a Unix socket unless --listen says otherwise. WebDAV listens on 127.0.0.1 and asks for a password.

If a mount serves the database, requests go through its daemon, and the mount sees every change at once. Ctrl-C stores everything and ends.`

export function serveCommand(): Command {
  return new Command('serve')
    .description(
      'Serve a database without FUSE: files as block devices (NBD), or the tree over 9P or WebDAV.',
    )
    .argument('[db|dir]', 'a database or a mount; with --nbd it may be left out if FILE is a path in a mount')
    .option(
      '--nbd <file>',
      'a file as a block device, for qemu and nbd-client; may be repeated',
      (file: string, files: readonly string[]) => [...files, file],
      [],
    )
    .option('--9p', 'the tree over 9P2000.L, for Linux guests and WSL')
    .option('--webdav', 'the tree over WebDAV, for desktops')
    .option('--at <when>', 'a moment of the past, read-only: a tid, time, age or tag')
    .option('--read-only', 'refuse changes')
    .option('--listen <place>', 'where to listen, see below')
    .option('--password-file <file>', 'WebDAV: the password, instead of a generated one, which is printed')
    .option('--no-password', 'WebDAV: ask for none')
    .addOption(
      new Option('--log-level <level>', 'the least severe messages to log')
        .choices(LOG_LEVELS)
        .default('warn'),
    )
    .addHelpText('after', NOTES)
    .action(serve)
}

interface Options extends ServeOptions {
  readonly at?: string
  readonly readOnly?: boolean
  readonly listen?: string
  readonly logLevel: LogLevel
}

async function serve(place: string | undefined, options: Options): Promise<void> {
  const protocol = protocolOf(options)
  const access = options.readOnly === true || options.at !== undefined ? 'read' : 'change'
  const { database, paths, moment } = await findServed(place, options.nbd, access)
  const when = options.at ?? moment
  const readOnly = options.readOnly === true || when !== undefined
  const log = logToTerminal(options.logLevel, new Problems())
  const where = await listenPlace(options.listen, protocol)
  const ended = untilSignal()
  const { fileSystem, database: opened } = await openDatabase(database, readOnly, when !== undefined)
  let server: RunningServer | undefined
  try {
    // The tid: an age would soon mean another moment.
    const at = when === undefined ? undefined : await opened.resolve(when)
    const files = at === undefined ? opened.files : opened.at(at)
    const operations = fileSystem.besideKernel
    const started = await PROTOCOLS[protocol]({
      files,
      operations,
      at,
      paths,
      readOnly,
      place: where,
      log,
      options,
    })
    server = started.server
    for (const line of started.lines) say(line)
    await ended
  } finally {
    await server?.close()
    await opened.close()
  }
  say(`${database} is no longer served${readOnly ? '' : ', all is stored'}`)
}

interface Found {
  readonly database: string
  /** The files for NBD. */
  readonly paths: readonly string[]
  /** The moment of the files, if their paths lead through one. */
  readonly moment: string | undefined
}

/** The database of a place, or of the files for NBD if none is given. @throws UsageError, CommandError */
async function findServed(place: string | undefined, nbd: readonly string[], access: Access): Promise<Found> {
  if (place !== undefined) {
    const { database, path, moment } = await findSource(place, '', access)
    if (path !== '') throw new UsageError(`${place} lies in a mount: name the database, or the mount`)
    return { database, paths: nbd, moment }
  }
  const found = []
  for (const file of nbd) found.push(await findSource(file, '', access))
  const [first] = found
  if (first === undefined) throw new UsageError('name a database or a mount')
  const { database, moment } = first
  for (const other of found) {
    if (other.path === '')
      throw new UsageError('--nbd without a database or a mount needs the path of a file in a mount')
    if (other.database !== database || other.moment !== moment)
      throw new UsageError('the files of --nbd are in different databases or moments')
  }
  return { database, paths: found.map(({ path }) => textOfStored(path)), moment }
}

async function openDatabase(
  name: string,
  readOnly: boolean,
  isPast: boolean,
): Promise<{ readonly fileSystem: ServedFileSystem; readonly database: Database }> {
  const mount = isPast ? undefined : await servingMount(name)
  const parts =
    mount === undefined
      ? await openHere(name, { readOnly, purpose: "opened by 'zblkfs serve'" })
      : await openServed(name, mount)
  const caller = { ...processOwner(), pid: process.pid }
  return { fileSystem: parts.fileSystem, database: new Database({ ...parts, caller, umask: UMASK }) }
}

function untilSignal(): Promise<void> {
  return new Promise(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve())
  })
}
