import { describe } from 'vitest'
import { hasPostgres } from '../../tools/postgres-server.ts'
import { hasSwift, makeBucket } from '../../tools/swift-server.ts'
import { postgresContract } from '../postgres/postgres-contract.ts'

describe.skipIf(!hasPostgres || !hasSwift)('PostgreSQL and S3', () => {
  const inBucket: Parameters<typeof postgresContract>[1] = async () => {
    const bucket = await makeBucket()
    return {
      options: { bulk: bucket.url, bulkCache: { maxBytes: 0 }, bulkTuning: { rowsMaxBytes: 65_536 } },
      remove: () => bucket.remove(),
    }
  }
  postgresContract('the PostgreSQL store with a bucket', inBucket)
  postgresContract('the encrypted PostgreSQL store with a bucket', inBucket, 'aes-256-gcm')
})
