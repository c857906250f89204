import { describe } from 'vitest'
import { hasPostgres } from '../../tools/postgres-server.ts'
import { hasSwift, makeBucket } from '../../tools/swift-server.ts'
import { postgresContract } from '../postgres/postgres-contract.ts'

describe.skipIf(!hasPostgres || !hasSwift)('PostgreSQL and S3', () => {
  postgresContract('the PostgreSQL store with a bucket', async () => {
    const { url, remove } = await makeBucket()
    return {
      options: { bulk: url, bulkCache: { maxBytes: 0 }, bulkTuning: { rowsMaxBytes: 65_536 } },
      remove,
    }
  })
})
