/** The names of databases: paths, and URLs of databases on a server. */
import { absolutePath } from './os-files.ts'
import { createHash } from 'node:crypto'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { formatAddress, isPostgresUrl, parseAddress } from './postgres/address.ts'

/** Whether a name is the URL of a database on a server, and not a path. */
export const isDatabaseUrl = isPostgresUrl

/**
 * The canonical name: an absolute path, or a URL that does not depend on defaults or the environment.
 * @throws CannotOpenError if a URL has another form, or a password.
 */
export const canonicalName = (name: string): string =>
  isDatabaseUrl(name) ? formatAddress(parseAddress(name)) : absolutePath(name)

/** The file with the state of an unfinished import: next to the database, or, if that is on a server, in the user's state directory. */
export function importMapPath(name: string): string {
  if (!isDatabaseUrl(name)) return `${name}.import`
  const directory = process.env['XDG_STATE_HOME'] ?? join(homedir(), '.local', 'state')
  const digest = createHash('sha256').update(canonicalName(name)).digest('hex').slice(0, 16)
  return join(directory, 'zblkfs', `${digest}.import`)
}
