/** An NBD server: files of a database as block devices, for qemu, nbd-client and libnbd. */
import type { Logger } from 'pino'
import type { Files } from '../../../core/database/files.ts'
import type { ListenPlace } from '../listen.ts'
import { type RunningServer, startServer } from '../server.ts'
import { serveNbd } from './connection.ts'
import { NbdExport } from './export.ts'

export interface NbdOptions {
  readonly files: Files
  /** The files, each exported under its path; the first one is the default export. */
  readonly paths: readonly string[]
  readonly readOnly: boolean
  readonly place: ListenPlace
  readonly log: Logger
}

/** Opens the files and serves them. @throws FileError if a file cannot be opened; CommandError if the place is taken. */
export async function startNbdServer(options: NbdOptions): Promise<RunningServer> {
  const { files, paths, readOnly, place, log } = options
  const exports = new Map<string, NbdExport>()
  const closeFiles = async (): Promise<void> => {
    for (const { file } of exports.values()) await file.close()
  }
  try {
    for (const path of paths) {
      const name = path.replace(/^\/+/, '')
      exports.set(
        name,
        await NbdExport.of(name, await files.open(`/${name}`, readOnly ? 'r' : 'r+'), readOnly),
      )
    }
    const [first] = exports.values()
    const find = (name: string): NbdExport | undefined =>
      name === '' ? first : exports.get(name.replace(/^\/+/, ''))
    const names = [...exports.keys()]
    const server = await startServer(place, socket => serveNbd(socket, names, find, log))
    return {
      close: async () => {
        await server.close()
        await closeFiles()
      },
    }
  } catch (error) {
    await closeFiles()
    throw error
  }
}
