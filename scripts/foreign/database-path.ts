/** A database as a person names it on the command line. */
import { resolve } from 'node:path'

const RELSTORAGE_PREFIX = 'relstorage:'

/** The absolute path. What kind of database it is is told by its content; `relstorage:` before it may say so. */
export const databasePath = (text: string): string =>
  resolve(text.startsWith(RELSTORAGE_PREFIX) ? text.slice(RELSTORAGE_PREFIX.length) : text)
