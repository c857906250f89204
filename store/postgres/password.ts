/** The password of a database: PGPASSWORD, else the first line of the password file that fits (libpq's format). */
import { readFileSync, statSync } from '../os-files.ts'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { PostgresAddress } from './address.ts'

/** Undefined if there is none. A password file that other users may read is not used, as libpq does. */
export function passwordFor(
  address: PostgresAddress,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  if (env['PGPASSWORD'] !== undefined && env['PGPASSWORD'] !== '') return env['PGPASSWORD']
  const path = env['PGPASSFILE'] ?? join(homedir(), '.pgpass')
  let text: string
  try {
    const stats = statSync(path)
    if (!stats.isFile() || (stats.mode & 0o077) !== 0) return undefined
    text = readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
  return passwordIn(text, address)
}

function passwordIn(text: string, { host, port, user, database }: PostgresAddress): string | undefined {
  // libpq uses this name for a Unix socket in its default directory.
  const hosts = host === '/run/postgresql' || host === '/var/run/postgresql' ? [host, 'localhost'] : [host]
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const [lineHost = '', linePort, lineDatabase, lineUser, password] = fieldsOf(line)
    if (password === undefined || !(lineHost === '*' || hosts.includes(lineHost))) continue
    if (fits(linePort, String(port)) && fits(lineDatabase, database) && fits(lineUser, user)) return password
  }
  return undefined
}

const fits = (field: string | undefined, value: string): boolean => field === '*' || field === value

/** Fields end at colons; a backslash escapes the next character. */
function fieldsOf(line: string): readonly string[] {
  const fields = ['']
  for (let at = 0; at < line.length; at++) {
    const char = line[at] ?? ''
    const last = fields.length - 1
    if (char === '\\' && at + 1 < line.length) fields[last] += line[++at] ?? ''
    else if (char === ':' && last < 4) fields.push('')
    else if (char !== '\r') fields[last] += char
  }
  return fields
}
