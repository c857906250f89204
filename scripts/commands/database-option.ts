/** `--db`: which database a command means that is not told by a path in a mount. */
import { Option } from 'commander'

export interface DatabaseOption {
  readonly db?: string
}

export const databaseOption = (): Option =>
  new Option('--db <db|dir>', 'a database, or a path in its mount; if absent, the mount that one is in')
