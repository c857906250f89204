/** What a database of a server contains: a zblkfs database, another program's tables, or nothing. */
import { ENCRYPTION } from '../encryption/key-slots.ts'
import { CannotOpenError } from '../errors.ts'
import { otherFormat } from '../other-format.ts'
import { isForbidden, isMissing } from './postgres-errors.ts'
import { ENCRYPTED_FORMAT, FORMAT_UPGRADED_MIN, FORMAT_VERSION, FUNCTIONS_VERSION } from './schema.ts'
import type { Session } from './session.ts'

/** A zblkfs database. */
export interface OurContent {
  readonly kind: 'ours'
  readonly id: string
  /** The S3 URL of the place for bulk bytes; undefined: they are in rows. */
  readonly bulk: string | undefined
  /** Whether it has an earlier format, which {@link upgradeSchema} upgrades. */
  readonly isEarlier: boolean
  /** Whether its functions are of an earlier version: {@link upgradeFunctions} replaces them. */
  readonly hasEarlierFunctions: boolean
  /** The note of its keys; undefined if it is not encrypted. */
  readonly keys: string | undefined
}

/** The content of a server's database. */
export type Content =
  | OurContent
  /** No tables. */
  | { readonly kind: 'empty' }
  /** Tables of another program, without a zblkfs database. */
  | { readonly kind: 'foreign'; readonly example: string }

/** @throws CannotOpenError for tables of another program, or of a later format. */
export async function contentOf(session: Session, name: string): Promise<Content> {
  const [[schema] = []] = await session.query("SELECT to_regnamespace('zblkfs')::text")
  if (schema === null) {
    const [[example] = []] = await session.query(
      `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v') AND n.nspname !~ '^pg_|^information_schema$'
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
       ORDER BY 1 LIMIT 1`,
    )
    return typeof example === 'string' ? { kind: 'foreign', example } : { kind: 'empty' }
  }
  const meta = await metaOf(session, name)
  const format = meta.get('format')
  const id = meta.get('id')
  if (format === undefined || id === undefined || !/^\d+$/.test(format))
    throw new CannotOpenError(
      `${name} has a schema 'zblkfs' that is not one of zblkfs: use another database`,
      {
        code: 'not-a-database',
        path: name,
      },
    )
  const version = Number(format)
  const keys = meta.get(ENCRYPTION)
  const isKnown =
    keys === undefined
      ? version <= FORMAT_VERSION && version >= FORMAT_UPGRADED_MIN
      : version === ENCRYPTED_FORMAT
  if (!isKnown) throw otherFormat(name, version, ENCRYPTED_FORMAT)
  return {
    kind: 'ours',
    id,
    bulk: meta.get('bulk'),
    isEarlier: version < FORMAT_VERSION,
    hasEarlierFunctions: Number(meta.get('functions') ?? 0) < FUNCTIONS_VERSION,
    keys,
  }
}

async function metaOf(session: Session, name: string): Promise<ReadonlyMap<string, string>> {
  try {
    const rows = await session.query(
      "SELECT name, value FROM zblkfs.meta WHERE name IN ('format', 'id', 'bulk', 'functions', 'encryption')",
    )
    return new Map(rows.map(([key, value]) => [key ?? '', value ?? '']))
  } catch (error) {
    if (isMissing(error)) return new Map()
    if (!isForbidden(error)) throw error
    throw new CannotOpenError(
      `the user may not read ${name}: grant it with ` +
        "'GRANT USAGE ON SCHEMA zblkfs TO USER; GRANT SELECT ON ALL TABLES IN SCHEMA zblkfs TO USER'",
      { code: 'server-forbids', path: name, cause: error },
    )
  }
}
