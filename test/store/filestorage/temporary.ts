/** Files and caches of one test, removed after it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { openFileStorage } from '../../../store/filestorage/file-storage.ts'
import { oid, tid as toTid, TID_MAX, TID_NONE } from '../../../store/ids.ts'
import type { ChangeSet, Store, TransactionInfo } from '../../../store/store.ts'

export interface Temporary {
  readonly directory: string
  readonly cacheDirectory: string
  readonly warnings: string[]
  /** Writes a file there; its path. */
  write(bytes: Uint8Array | string, name?: string): string
  /** Opens a FileStorage, which is closed after the test. */
  open(path: string): Promise<Store>
}

/** A new directory for each test. */
export function temporary(): { readonly current: Temporary } {
  let directory = ''
  let stores: Store[] = []
  let warnings: string[] = []
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'zblkfs-filestorage-'))
    stores = []
    warnings = []
  })
  afterEach(async () => {
    for (const store of stores) await store.close()
    rmSync(directory, { recursive: true })
  })
  return {
    get current() {
      return {
        directory,
        cacheDirectory: join(directory, 'cache'),
        warnings,
        write(bytes: Uint8Array | string, name = 'Data.fs') {
          writeFileSync(join(directory, name), bytes)
          return join(directory, name)
        },
        async open(path: string) {
          const store = await openFileStorage(path, {
            cacheDirectory: join(directory, 'cache'),
            warn: message => warnings.push(message),
          })
          stores.push(store)
          return store
        },
      }
    },
  }
}

/** The object's record at `at` as text; undefined where it does not exist. */
export async function textOf(
  store: Store,
  object: number,
  at: bigint = TID_MAX,
): Promise<string | undefined> {
  const [revision] = await store.load([oid(object)], toTid(at))
  return revision && Buffer.from(revision.record).toString('latin1')
}

export async function allTransactions(store: Store): Promise<TransactionInfo[]> {
  const all: TransactionInfo[] = []
  for await (const transaction of store.transactions()) all.push(transaction)
  return all
}

/** The changes after a transaction, the pieces of a big one put together. */
export async function allChanges(store: Store, after: bigint = TID_NONE): Promise<ChangeSet[]> {
  const all: ChangeSet[] = []
  for await (const { tid, oids } of store.changes(toTid(after))) {
    const last = all.at(-1)
    if (last?.tid === tid) all[all.length - 1] = { tid, oids: [...last.oids, ...oids] }
    else all.push({ tid, oids })
  }
  return all
}
