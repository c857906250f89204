import { describe } from 'vitest'
import { hasPostgres } from '../../tools/postgres-server.ts'
import { postgresContract } from './postgres-contract.ts'

describe.skipIf(!hasPostgres)('PostgreSQL', () => {
  postgresContract('the PostgreSQL store', () => Promise.resolve({ options: {}, remove: () => undefined }))
})
