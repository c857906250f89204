/** The contract of stores on a PostgreSQL server, whose bulk bytes are in its tables or in a bucket. */
import type { EncryptionName, Secret } from '../../../store/encryption.ts'
import { openPostgresStore, type OpenPostgresOptions } from '../../../store/postgres/open-postgres-store.ts'
import type { WritableStore } from '../../../store/store.ts'
import { makePostgresDatabase } from '../../tools/postgres-server.ts'
import { storeContract } from '../contract/contract.ts'

/** Where the bulk bytes of a database are. */
interface BulkPlace {
  readonly options: OpenPostgresOptions
  remove(): void
}

const key = async (): Promise<Secret> => ({ kind: 'file', bytes: Buffer.alloc(32, 'key') })

export function postgresContract(
  name: string,
  makeBulk: () => Promise<BulkPlace>,
  encryption: EncryptionName = 'off',
): void {
  const common = [
    'compressing',
    'connection',
    'copying',
    'dating',
    ...(encryption === 'off' ? [] : ['encrypting']),
    'lineage',
    'measuring',
    'pinning',
    'retaining',
  ]
  storeContract(
    name,
    async () => {
      const database = await makePostgresDatabase()
      const bulk = await makeBulk()
      const open = async (access: OpenPostgresOptions): Promise<WritableStore> =>
        (await openPostgresStore(database.url, { ...access, ...bulk.options, key })) as WritableStore
      return {
        open: async () => await open({ create: true, purpose: 'the contract', encryption }),
        openReader: async () => await open({ readOnly: true }),
        remove: async () => {
          bulk.remove()
          await database.remove()
        },
      }
    },
    {
      reader: [...common, 'checking', 'watching'],
      writer: [...common, 'packing', 'spilling'],
    },
  )
}
