import { rm } from 'node:fs/promises'
import type { CompressionName } from '../../../store/compression.ts'
import type { EncryptionName } from '../../../store/encryption.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { storeContract } from '../contract/contract.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const KEY = { kind: 'file', bytes: Buffer.alloc(32, 'key') } as const

function sqliteContract(
  name: string,
  compression: CompressionName,
  encryption: EncryptionName = 'off',
): void {
  storeContract(
    name,
    async () => {
      const directory = await temporaryDirectory()
      const path = `${directory}/test.db`
      return {
        open: async () =>
          await openSqliteStore(path, {
            create: true,
            purpose: 'the contract',
            compression,
            encryption,
            key: async () => KEY,
          }),
        openReader: async () => await openSqliteStore(path, { readOnly: true, key: async () => KEY }),
        remove: async () => await rm(directory, { recursive: true, force: true }),
      }
    },
    {
      reader: [
        'checking',
        'compressing',
        'copying',
        'dating',
        ...(encryption === 'off' ? [] : ['encrypting', 'rawSending']),
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
        ...(encryption === 'off' ? [] : ['encrypting']),
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
sqliteContract('the encrypted SQLite store', 'off', 'aes-256-gcm')
sqliteContract('the compressed and encrypted SQLite store', 'zstd', 'aes-256-gcm')
