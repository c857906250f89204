import { rm } from 'node:fs/promises'
import type { CompressionName } from '../../../store/compression.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { storeContract } from '../contract/contract.ts'
import { temporaryDirectory } from './temporary-directory.ts'

function sqliteContract(name: string, compression: CompressionName): void {
  storeContract(
    name,
    async () => {
      const directory = await temporaryDirectory()
      const path = `${directory}/test.db`
      return {
        open: async () => await openSqliteStore(path, { create: true, purpose: 'the contract', compression }),
        openReader: async () => await openSqliteStore(path, { readOnly: true }),
        remove: async () => await rm(directory, { recursive: true, force: true }),
      }
    },
    {
      reader: [
        'checking',
        'compressing',
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
        'copying',
        'dating',
        'intents',
        'lineage',
        'measuring',
        'packing',
        'pinning',
        'presence',
        'retaining',
        'spilling',
      ],
    },
  )
}

sqliteContract('the SQLite store', 'off')
sqliteContract('the compressed SQLite store', 'zstd')
