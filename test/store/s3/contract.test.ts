import { describe } from 'vitest'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import type { WritableStore } from '../../../store/store.ts'
import { hasPostgres, makePostgresDatabase } from '../../tools/postgres-server.ts'
import { hasSwift, makeBucket } from '../../tools/swift-server.ts'
import { storeContract } from '../contract/contract.ts'

describe.skipIf(!hasPostgres || !hasSwift)('PostgreSQL and S3', () => {
  storeContract(
    'the PostgreSQL store with a bucket',
    async () => {
      const database = await makePostgresDatabase()
      const bucket = await makeBucket()
      const options = { bulk: bucket.url, bulkCache: { maxBytes: 0 }, bulkTuning: { rowsMaxBytes: 65_536 } }
      return {
        open: async () =>
          (await openPostgresStore(database.url, { create: true, ...options })) as WritableStore,
        openReader: async () => await openPostgresStore(database.url, { readOnly: true, ...options }),
        remove: async () => {
          bucket.remove()
          await database.remove()
        },
      }
    },
    {
      reader: [
        'checking',
        'compressing',
        'connection',
        'copying',
        'dating',
        'lineage',
        'measuring',
        'pinning',
        'retaining',
        'watching',
      ],
      writer: [
        'compressing',
        'connection',
        'copying',
        'dating',
        'lineage',
        'measuring',
        'packing',
        'pinning',
        'retaining',
        'spilling',
      ],
    },
  )
})
