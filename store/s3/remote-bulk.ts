/** What the readers and the writer of one open store share of its bucket: the client, and the caches. */
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Compression } from '../compression.ts'
import type { SegmentOpener, SegmentSeal } from '../encryption/segment-seal.ts'
import type { BulkScan } from '../indexed/bulk.ts'
import { parseS3Address } from './address.ts'
import { S3Client, type S3Limits } from './client.ts'
import { DiskCache } from './disk-cache.ts'
import { FrameFetcher } from './frame-fetcher.ts'
import { S3BulkReader } from './s3-bulk-reader.ts'
import type { KeeperAges } from './segment-keeper.ts'
import { segmentKey } from './segment.ts'
import type { SegmentMap } from './segment-map.ts'

/** A cache of the bytes in a bucket on the local disk. */
export interface BulkCacheOptions {
  /** Its directory; by default in the user's cache directory. Each database has a subdirectory. */
  readonly directory?: string
  /** Its maximum length, for each database. 0: no cache. By default an existing cache is used as it is. */
  readonly maxBytes?: number
}

/** Sizes and times that tests change. */
export interface BulkTuning {
  readonly limits?: Partial<S3Limits>
  readonly ages?: Partial<KeeperAges>
  /** As {@link ROWS_MAX_BYTES}. */
  readonly rowsMaxBytes?: number
}

export interface RemoteBulkOptions {
  readonly url: string
  readonly databaseId: string
  readonly cache: BulkCacheOptions
  readonly tuning: BulkTuning
  readonly report: (message: string) => void
  /** How new segments are stored. */
  readonly compression: Compression
  /** Undefined for a database that is not encrypted; the seal where it is written. */
  readonly segments?: SegmentOpener | SegmentSeal | undefined
}

export class RemoteBulk {
  readonly client: S3Client
  readonly databaseId: string
  readonly tuning: BulkTuning
  readonly compression: Compression
  readonly #fetcher: FrameFetcher
  readonly #disk: DiskCache | undefined
  readonly #options: RemoteBulkOptions

  constructor(options: RemoteBulkOptions) {
    const { databaseId, cache, tuning, report } = options
    this.#options = options
    this.databaseId = databaseId
    this.tuning = tuning
    this.compression = options.compression
    this.client = this.newClient()
    this.#disk = DiskCache.open({
      directory: join(cache.directory ?? defaultDirectory(), databaseId),
      maxBytes: cache.maxBytes,
      warn: report,
    })
    this.#fetcher = new FrameFetcher(this.client, this.#disk, options.segments)
  }

  /** A client with separate connections. The caller closes it. */
  newClient(): S3Client {
    const { url, tuning, report } = this.#options
    return new S3Client(parseS3Address(url), { report, ...(tuning.limits && { limits: tuning.limits }) })
  }

  /** @param rows the bytes that are in rows of the index. */
  reader(map: SegmentMap, rows: BulkScan): S3BulkReader {
    return new S3BulkReader({
      map,
      rows,
      fetcher: this.#fetcher,
      sizeOf: id => this.client.size(segmentKey(id)),
    })
  }

  async close(): Promise<void> {
    this.client.close()
    await this.#disk?.close()
  }
}

const defaultDirectory = (): string =>
  join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'zblkfs', 'bulk')
