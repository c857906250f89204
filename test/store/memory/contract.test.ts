import { MemoryDatabase, MemoryReader, MemoryStore } from '../../../store/memory/memory-store.ts'
import { storeContract } from '../contract/contract.ts'

storeContract(
  'a store in memory',
  () => {
    const database = new MemoryDatabase()
    return Promise.resolve({
      open: async () => new MemoryStore(database),
      openReader: () => Promise.resolve(new MemoryReader(database)),
      remove: () => Promise.resolve(),
    })
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
      'retaining',
      'spilling',
    ],
  },
)
