import { describe } from 'vitest'
import { hasPostgres } from '../../tools/postgres-server.ts'
import { postgresContract } from './postgres-contract.ts'

describe.skipIf(!hasPostgres)('PostgreSQL', () => {
  const inTables = (): ReturnType<Parameters<typeof postgresContract>[1]> =>
    Promise.resolve({ options: {}, remove: () => undefined })
  postgresContract('the PostgreSQL store', inTables)
  postgresContract('the encrypted PostgreSQL store', inTables, 'aes-256-gcm')
})
