import { describe } from 'vitest'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import type { WritableStore } from '../../../store/store.ts'
import { hasPostgres, makePostgresDatabase } from '../../tools/postgres-server.ts'
import { storeContract } from '../contract/contract.ts'

describe.skipIf(!hasPostgres)('PostgreSQL', () => {
  storeContract(
    'the PostgreSQL store',
    async () => {
      const database = await makePostgresDatabase()
      return {
        open: async () =>
          (await openPostgresStore(database.url, { create: true, purpose: 'the contract' })) as WritableStore,
        openReader: async () => await openPostgresStore(database.url, { readOnly: true }),
        remove: async () => await database.remove(),
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
