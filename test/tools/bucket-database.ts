/** A new database on a server with a bucket, for tests that mount it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasPostgres, makePostgresDatabase } from './postgres-server.ts'
import { hasSwift, makeBucket, type TestBucket } from './swift-server.ts'

export const hasBucketDatabases = hasPostgres && hasSwift

export interface BucketDatabase {
  readonly db: string
  readonly bucket: TestBucket
  /** Mount options: the bucket, and a cache in a temporary directory. */
  readonly options: readonly string[]
  readonly remove: () => Promise<void>
}

export async function makeBucketDatabase(): Promise<BucketDatabase> {
  const database = await makePostgresDatabase()
  const bucket = await makeBucket()
  const cache = await mkdtemp(join(tmpdir(), 'zblkfs-cache-'))
  return {
    db: database.url,
    bucket,
    options: [`bulk=${bucket.url}`, `cache_dir=${cache}`, 'cache_disk=64M'],
    remove: async () => {
      bucket.remove()
      await database.remove()
      await rm(cache, { recursive: true, force: true })
    },
  }
}
