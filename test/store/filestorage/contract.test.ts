import { onTestFinished } from 'vitest'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openFileStorage } from '../../../store/filestorage/file-storage.ts'
import { tid } from '../../../store/ids.ts'
import { fileStorageOf, madeUpHistory } from '../../tools/zodb-history.ts'
import { HandFile } from '../../tools/zodb-file.ts'
import { readingContract } from '../contract/reading.ts'
import type { History } from '../history.ts'

const open = async (bytes: Uint8Array, history: History) => {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-filestorage-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'Data.fs'), bytes)
  const store = await openFileStorage(join(directory, 'Data.fs'), {
    cacheDirectory: join(directory, 'cache'),
  })
  return { store, history }
}

readingContract('a FileStorage', async () => open(fileStorageOf(madeUpHistory()), madeUpHistory()))

readingContract('a FileStorage that ends in a torn transaction', async () => {
  const torn = new HandFile().add({ tid: 2n ** 62n, records: [{ oid: 1, data: 'lost' }] })
  return open(Buffer.concat([fileStorageOf(madeUpHistory()), torn.bytes.subarray(4, -20)]), madeUpHistory())
})

readingContract('an empty FileStorage', async () => open(fileStorageOf([]), []))

readingContract('a FileStorage of one transaction', async () => {
  const history = [{ ...madeUpHistory()[5]!, tid: tid(1n) }]
  return open(fileStorageOf(history), history)
})
