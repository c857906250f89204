/**
 * The names by which SQLite opens files: a path, or a URI (https://sqlite.org/uri.html) for a path that better-sqlite3 would change. It
 * encodes texts as UTF-8, and cuts off white space at their ends.
 *
 * better-sqlite3 accepts URIs only if the environment enables them when its library is loaded, which is when the process
 * makes its first connection.
 */
import { bytesOf, isOdd, textOf } from './os-text.ts'

process.env['SQLITE_USE_URI'] ??= '1'

const SCHEME = 'file:'

/**
 * The name that opens the file at `path`.
 * @param path absolute; or '', which is a temporary file without a name.
 * @param parameters of the URI, such as `immutable=1`.
 */
export const sqliteName = (path: string, parameters?: string): string =>
  parameters === undefined && path.trim() === path && !isOdd(path)
    ? path
    : SCHEME + encode(bytesOf(path)) + (parameters === undefined ? '' : `?${parameters}`)

/** The path that a name opens. */
export function pathOfSqliteName(name: string): string {
  if (!name.startsWith(SCHEME)) return name
  const [path = ''] = name.slice(SCHEME.length).split('?')
  const bytes = path.replaceAll(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
  return textOf(Buffer.from(bytes, 'latin1'))
}

const encode = (path: Buffer): string =>
  path
    .toString('latin1')
    .replaceAll(/[^\w./-]/g, char => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
