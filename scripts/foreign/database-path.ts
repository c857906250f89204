/** The name of a database on the command line. */
import { canonicalName } from '../../store/database-name.ts'

const RELSTORAGE_PREFIX = 'relstorage:'

/** The canonical name. The content decides the kind of database; a prefix `relstorage:` is allowed and ignored. */
export const databasePath = (text: string): string =>
  canonicalName(text.startsWith(RELSTORAGE_PREFIX) ? text.slice(RELSTORAGE_PREFIX.length) : text)
