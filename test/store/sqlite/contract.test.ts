import { rm } from 'node:fs/promises'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { storeContract } from '../contract/contract.ts'
import { temporaryDirectory } from './temporary-directory.ts'

storeContract(
  'the SQLite store',
  async () => {
    const directory = await temporaryDirectory()
    const path = `${directory}/test.db`
    return {
      open: async () => await openSqliteStore(path, { create: true, purpose: 'the contract' }),
      openReader: async () => await openSqliteStore(path, { readOnly: true }),
      remove: async () => await rm(directory, { recursive: true, force: true }),
    }
  },
  {
    reader: ['checking', 'copying', 'dating', 'lineage', 'measuring', 'pinning', 'retaining', 'watching'],
    writer: [
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
