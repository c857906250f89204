/** A database as a person names it on the command line. */
import { resolve } from 'node:path'

const RELSTORAGE_PREFIX = 'relstorage:'

/** The absolute path. The content decides the kind of database; a prefix `relstorage:` is allowed and ignored. */
export const databasePath = (text: string): string =>
  resolve(text.startsWith(RELSTORAGE_PREFIX) ? text.slice(RELSTORAGE_PREFIX.length) : text)
