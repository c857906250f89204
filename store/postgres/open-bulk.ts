/** Opens the Bulk of a database on a server: rows, or segments in a bucket where the database's meta names one. */
import { COMPRESSION, parseCompression, type CompressionName } from '../compression.ts'
import type { Opener } from '../encryption/seals.ts'
import type { SegmentOpener } from '../encryption/segment-seal.ts'
import { CannotOpenError } from '../errors.ts'
import type { BulkScan } from '../indexed/bulk.ts'
import { formatS3Address, parseS3Address } from '../s3/address.ts'
import { assertBucket, claimBucket, newestEpochAfter } from '../s3/bucket.ts'
import { RemoteBulk, type BulkCacheOptions, type BulkTuning } from '../s3/remote-bulk.ts'
import { PostgresBulkReader } from './postgres-bulk.ts'
import { PostgresIndex, type Queries } from './postgres-index.ts'
import { PostgresIndexScan } from './postgres-index-scan.ts'
import { PostgresSegmentMap } from './postgres-segment-map.ts'
import type { OurContent } from './content.ts'
import type { Session } from './session.ts'
import { numberOf } from './values.ts'

export interface BulkOptions {
  /** The S3 URL of the place for the bulk bytes of a new database. Another place than that of an existing one is refused. */
  readonly bulk?: string
  readonly bulkCache?: BulkCacheOptions
  /** How new segments are stored from now on; recorded in the database. By default as recorded there. */
  readonly compression?: CompressionName | undefined
  /** For tests. */
  readonly bulkTuning?: BulkTuning
}

/** The canonical S3 URL in options. @throws CannotOpenError */
export const bulkUrlOf = ({ bulk }: BulkOptions): string | undefined =>
  bulk === undefined ? undefined : formatS3Address(parseS3Address(bulk))

/** @throws CannotOpenError if the options name another place than the database's. */
export function assertSamePlace(name: string, content: OurContent, wanted: string | undefined): void {
  if (wanted === undefined || wanted === content.bulk) return
  throw new CannotOpenError(
    `${name} keeps its bulk bytes ${content.bulk === undefined ? 'in its server' : `in ${content.bulk}`}, which cannot be changed: ` +
      `it was opened with bulk=${wanted}`,
    { code: 'bulk-differs', path: name },
  )
}

/** Opens the bucket of a database; undefined if it has none. @throws CannotOpenError, StoreError */
export async function openRemoteBulk(
  session: Session,
  { id, bulk }: OurContent,
  options: BulkOptions & { readonly readOnly: boolean; readonly report: (message: string) => void },
  segments: SegmentOpener | undefined,
): Promise<RemoteBulk | undefined> {
  if (bulk === undefined) return undefined
  const { report, bulkCache: cache = {}, bulkTuning: tuning = {}, readOnly } = options
  const compression = parseCompression(options.compression ?? (await noteOf(session)))
  const remote = new RemoteBulk({ url: bulk, databaseId: id, report, cache, tuning, compression, segments })
  try {
    // A process that ended while it created the database may not have come to its bucket.
    const isNew = !readOnly && (await session.query('SELECT FROM zblkfs.txn LIMIT 1')).length === 0
    await (isNew ? claimBucket : assertBucket)(remote.client, id)
    return remote
  } catch (error) {
    await remote.close()
    throw error
  }
}

async function noteOf(session: Session): Promise<string | undefined> {
  const [[value] = []] = await session.query('SELECT value FROM zblkfs.meta WHERE name = $1', [COMPRESSION])
  return value ?? undefined
}

/** The last epoch with segments that this database has not assigned. */
export async function unassignedEpoch(session: Session, remote: RemoteBulk): Promise<number | undefined> {
  return await newestEpochAfter(remote.client, await newestEpoch(session))
}

/** The last epoch that this database has assigned. */
export async function newestEpoch(queries: Queries): Promise<number> {
  const [[last] = []] = await queries.query('SELECT coalesce(max(epoch), 0) FROM zblkfs.writer')
  return numberOf(last)
}

/** An index and its Bulk for reading. */
export interface Halves {
  readonly index: PostgresIndex
  readonly scan: PostgresIndexScan
  readonly bulk: BulkScan
  /** Drops what the Bulk remembers of positions from `pos` on. */
  readonly forgetFrom: (pos: number) => void
}

/** @param opener undefined for a database that is not encrypted. @param seesParts as for {@link PostgresSegmentMap}. */
export function halvesOver(
  queries: Queries,
  remote: RemoteBulk | undefined,
  opener: Opener | undefined,
  seesParts = false,
): Halves {
  const rows = new PostgresBulkReader(queries, opener?.segments)
  const segments = remote?.reader(new PostgresSegmentMap(queries, seesParts), rows)
  return {
    index: new PostgresIndex(queries, opener?.rows),
    scan: new PostgresIndexScan(queries, opener?.rows),
    bulk: segments ?? rows,
    forgetFrom: pos => segments?.forgetFrom(pos),
  }
}
