/** The names of databases: paths, and URLs of those that a server has. */
import { createHash } from 'node:crypto'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { formatAddress, isPostgresUrl, parseAddress } from './postgres/address.ts'

/** Whether a name is the URL of a database on a server, which is no file. */
export const isDatabaseUrl = isPostgresUrl

/**
 * The canonical name: an absolute path, or a URL in which nothing is left to defaults or the environment.
 * @throws CannotOpenError if a URL has another form, or a password.
 */
export const canonicalName = (name: string): string =>
  isDatabaseUrl(name) ? formatAddress(parseAddress(name)) : resolve(name)

/** The file with the state of an unfinished import: beside the database, or, if a server has it, in the user's state directory. */
export function importMapPath(name: string): string {
  if (!isDatabaseUrl(name)) return `${name}.import`
  const directory = process.env['XDG_STATE_HOME'] ?? join(homedir(), '.local', 'state')
  const digest = createHash('sha256').update(canonicalName(name)).digest('hex').slice(0, 16)
  return join(directory, 'zblkfs', `${digest}.import`)
}
