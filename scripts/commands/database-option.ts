/** `--db`: the database of a command without a path in a mount. */
import { Option } from 'commander'

export interface DatabaseOption {
  readonly db?: string
}

export const databaseOption = (): Option =>
  new Option(
    '--db <db|dir>',
    'a database, or a path in its mount (default: the mount of the working directory)',
  )
