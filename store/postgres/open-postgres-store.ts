/** Opens a database on a PostgreSQL server, and creates one if there is none. */
import type { Awaitable } from '../awaitable.ts'
import { COMPRESSION, NO_COMPRESSION } from '../compression.ts'
import { accessOf, keyOf, makeKeys } from '../database-key.ts'
import type { EncryptionOptions } from '../encryption.ts'
import { Epochs } from '../encryption/epochs.ts'
import type { MasterKey } from '../encryption/keys.ts'
import { openerOf } from '../encryption/seals.ts'
import { CannotOpenError, LockedError, StoreError } from '../errors.ts'
import { newDatabaseId } from '../indexed/database-id.ts'
import type { Store } from '../store.ts'
import { formatAddress, parseAddress, type PostgresAddress } from './address.ts'
import { explainConnect, isDuplicate, isForbidden } from './postgres-errors.ts'
import { assertSamePlace, bulkUrlOf, openRemoteBulk, unassignedEpoch, type BulkOptions } from './open-bulk.ts'
import { PostgresStore, WritablePostgresStore } from './postgres-store.ts'
import { assertNotPooled } from './pooler.ts'
import { createSchema } from './schema.ts'
import { contentOf, type OurContent } from './content.ts'
import { RemoteBulk } from '../s3/remote-bulk.ts'
import { emptyBucket } from '../s3/bucket.ts'
import { Session } from './session.ts'
import { LeaseSession } from './lease-session.ts'
import { upgradeAlone, upgradeEarlierFunctions } from './writer-epoch.ts'
import { WriterSession } from './writer-session.ts'

export interface OpenPostgresOptions extends BulkOptions, EncryptionOptions {
  readonly readOnly?: boolean
  /** Creates the database if it does not exist. */
  readonly create?: boolean
  /** The purpose of opening it, for the message to another writer. */
  readonly purpose?: string
  /** Opens it for writing beside others, in turns ({@link Capabilities.leasing}). It is opened with the right to write. */
  readonly isShared?: boolean
  /** Receives a sentence when the connection is lost, is restored, or this writer is fenced. */
  readonly warn?: (message: string) => void
}

/** @throws LockedError if another writer has it open; CannotOpenError, with cause and next step, for every other failure. */
export async function openPostgresStore(url: string, options: OpenPostgresOptions = {}): Promise<Store> {
  const address = parseAddress(url)
  const name = formatAddress(address)
  const opened: { close(): Awaitable<void> }[] = []
  const keep = <T extends { close(): Awaitable<void> }>(closable: T): T => {
    opened.push(closable)
    return closable
  }
  try {
    const session = keep(await Session.open(address))
    await assertNotPooled(session, address, name)
    const content = await findOrCreate(session, address, name, options)
    const { id } = content
    const { readOnly = false, purpose = 'a writer', warn: report = () => undefined } = options
    const access = content.made ?? (await (readOnly ? accessOf : keyOf)(name, content.keys, options))
    const segments = openerOf(access, name, () => new Epochs(() => []))?.segments
    const remote = await openRemoteBulk(session, content, { ...options, readOnly, report }, segments).catch(
      async (error: unknown) => {
        // Another place can be named then.
        if (content.isCreated) await session.query('DROP SCHEMA zblkfs CASCADE')
        throw error
      },
    )
    if (remote !== undefined) keep(remote)
    const parts = { name, address, id, session, report, remote, access }
    if (readOnly) return new PostgresStore(parts)
    if (content.isEarlier) await upgradeAlone(session, name)
    else if (content.hasEarlierFunctions) await upgradeEarlierFunctions(session, name, report)
    const unassigned = remote && (await unassignedEpoch(session, remote))
    const writing = keep(await Session.open(address))
    const { isShared = false } = options
    const about = { address, name, purpose, id, report, isShared }
    const writer = keep(await WriterSession.take(about, writing, unassigned))
    const lease = isShared ? keep(new LeaseSession({ address, name, writer })) : undefined
    const store = await WritablePostgresStore.open(parts, writer, lease)
    if (unassigned !== undefined) await store.doubtBucket(unassigned)
    const { compression } = options
    if (compression !== undefined && compression !== (await store.capabilities.compressing?.compression()))
      await store.setNote(COMPRESSION, compression)
    return store
  } catch (error) {
    for (const closable of opened.toReversed()) await closable.close()
    if (error instanceof LockedError) throw error
    if (error instanceof StoreError && !(error instanceof CannotOpenError))
      throw new CannotOpenError(error.message, { cause: error, code: error.code, path: name })
    throw explainConnect(error, address, name)
  }
}

/** Whether the server's database contains a zblkfs database, or can receive one. @throws as {@link openPostgresStore}. */
export async function examine(url: string): Promise<'ours' | 'empty'> {
  const address = parseAddress(url)
  let session: Session | undefined
  try {
    session = await Session.open(address)
    const content = await contentOf(session, formatAddress(address))
    if (content.kind === 'foreign') throw foreign(formatAddress(address), content.example)
    return content.kind
  } catch (error) {
    throw explainConnect(error, address, formatAddress(address))
  } finally {
    session?.close()
  }
}

/** Removes the zblkfs database from the server's database, which stays. It must not be open anywhere. */
export async function removePostgresDatabase(url: string): Promise<void> {
  const address = parseAddress(url)
  const session = await Session.open(address)
  try {
    const content = await contentOf(session, formatAddress(address))
    if (content.kind === 'ours' && content.bulk !== undefined)
      await withBucket(content.bulk, content.id, async ({ client }) => await emptyBucket(client, content.id))
    await session.query('DROP SCHEMA IF EXISTS zblkfs CASCADE')
  } finally {
    session.close()
  }
}

async function withBucket(
  url: string,
  databaseId: string,
  use: (remote: RemoteBulk) => Promise<void>,
): Promise<void> {
  const remote = new RemoteBulk({
    url,
    databaseId,
    cache: { maxBytes: 0 },
    tuning: {},
    compression: NO_COMPRESSION,
    report: () => undefined,
  })
  try {
    await use(remote)
  } finally {
    await remote.close()
  }
}

const foreign = (name: string, example: string): CannotOpenError =>
  new CannotOpenError(
    `${name} has tables of another program (${example}): name a database for zblkfs alone`,
    { code: 'not-a-database', path: name },
  )

async function findOrCreate(
  session: Session,
  address: PostgresAddress,
  name: string,
  options: OpenPostgresOptions,
): Promise<OurContent & { readonly isCreated: boolean; readonly made?: MasterKey | undefined }> {
  const { readOnly = false, create = false } = options
  const bulk = bulkUrlOf(options)
  const content = await contentOf(session, name)
  const { compression = 'off', encryption = 'off' } = options
  if (compression !== 'off' && (content.kind === 'ours' ? content.bulk : bulk) === undefined)
    throw new CannotOpenError(
      `${name} keeps its data in rows of its server, which compresses them itself: compression=${compression} needs a bucket (bulk=)`,
      { path: name },
    )
  if (content.kind === 'ours') {
    assertSamePlace(name, content, bulk)
    return { ...content, isCreated: false }
  }
  if (content.kind === 'foreign') throw foreign(name, content.example)
  if (!create || readOnly)
    throw new CannotOpenError(`${name} has no database of zblkfs`, { code: 'no-database', path: name })
  const keys = encryption === 'off' ? undefined : await makeKeys(name, options)
  let isCreated = false
  try {
    await createSchema(session, newDatabaseId(), bulk, keys?.note)
    isCreated = true
  } catch (error) {
    await session.query('ROLLBACK')
    if (isForbidden(error))
      throw new CannotOpenError(
        `the user ${address.user} may not create a schema in the database ${address.database}: ` +
          `'GRANT CREATE ON DATABASE ${address.database} TO ${address.user}'`,
        { code: 'server-forbids', path: name, cause: error },
      )
    // Another process has created it meanwhile.
    if (!isDuplicate(error)) throw error
  }
  const made = await contentOf(session, name)
  if (made.kind === 'ours') {
    assertSamePlace(name, made, bulk)
    return { ...made, isCreated, made: isCreated ? keys?.master : undefined }
  }
  throw new CannotOpenError(`${name} could not be made a database of zblkfs`, { path: name })
}
