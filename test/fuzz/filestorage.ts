/** FileStorages with changed bytes: each answers with data or with a StoreError. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { importDatabase } from '../../core/foreign/import/import-database.ts'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import { StoreError } from '../../store/errors.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import type { ReadOnlyStore } from '../../store/store.ts'
import { tid as toTid } from '../../store/ids.ts'
import { caseFile, CASES } from '../zodb/cases.ts'
import type { Fuzzer } from './kinds.ts'
import { mutate, pick } from './mutate.ts'

/** The bytes that a FileStorage begins with: without them it is not taken for one. */
const MAGIC_BYTES = 4

export function fileStorageFuzzer(directory: string): Fuzzer {
  const originals = CASES.map(({ name }) => readFileSync(caseFile(name)))
  return {
    steps: 2,
    async round(random) {
      const place = mkdtempSync(join(directory, 'round-'))
      const path = join(place, 'Data.fs')
      writeFileSync(path, mutate(pick(random, originals), random, MAGIC_BYTES))
      await readAndImport(() => openFileStorage(path, { cacheDirectory: join(place, 'cache') }), place)
      rmSync(place, { recursive: true })
    },
  }
}

/** Reads every state of every object, and imports the database. @throws what is not a StoreError */
export async function readAndImport(open: () => Promise<ReadOnlyStore>, directory: string): Promise<void> {
  let store: ReadOnlyStore
  try {
    store = await open()
  } catch (error) {
    return assertOnPurpose(error)
  }
  try {
    for await (const { tid } of store.transactions())
      for await (const { oids } of store.changes(toTid(tid - 1n), tid))
        for (const each of oids) await store.load([each], tid).catch(assertOnPurpose)
    await store.capabilities.foreignHistory?.packedUpTo()
    const target = await openSqliteStore(join(directory, 'db'), { create: true })
    try {
      await importDatabase({
        source: store,
        target,
        mapPath: join(directory, 'map'),
        into: '',
        history: true,
      })
    } finally {
      await target.close()
    }
  } catch (error) {
    assertOnPurpose(error)
  } finally {
    await store.close()
  }
}

function assertOnPurpose(error: unknown): void {
  if (!(error instanceof StoreError)) throw error
  if (/\bundefined\b|\[object|\bNaN\b/.test(error.message)) throw new Error(`it says: ${error.message}`)
}
