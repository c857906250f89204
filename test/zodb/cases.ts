/** Small databases of kinds that readers get wrong, and what is right: one ZBigFile `f` with blocks of 4,096 bytes. */
import { join, resolve } from 'node:path'
import { knownOid, knownTid } from '../../store/ids.ts'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import { openRelStorage } from '../../store/relstorage/rel-storage.ts'
import type { Store } from '../../store/store.ts'
import { temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import type { History } from '../store/history.ts'
import { PreservingDatabase } from '../store/relstorage/database.ts'
import { readFileStorage } from '../tools/file-storage-reader.ts'

export const caseFile = (name: string): string => resolve(import.meta.dirname, `../fixtures/zodb/${name}.fs`)

export interface Case {
  readonly name: string
  /** For each transaction, the first byte of each block; '!' where its object does not exist. */
  readonly states: Readonly<Record<string, string>>
  /** Objects that are missing or deleted at a transaction. */
  readonly absent: readonly (readonly [oid: number, tid: string])[]
}

const tid = (number: number): string => `040d00000000000${number}`

export const CASES: readonly Case[] = [
  {
    // Transactions 1 and 3 are packed: the block's states of then are gone.
    name: 'packed',
    states: { [tid(1)]: '!', [tid(3)]: 'C', [tid(4)]: 'D', [tid(5)]: 'E' },
    absent: [[4, tid(1)]],
  },
  { name: 'zlib', states: { [tid(1)]: 'C', [tid(2)]: 'D', [tid(3)]: 'E' }, absent: [] },
  {
    // Block 1's object is deleted at 2, after the table let go of it; 3 has another one.
    name: 'deleted',
    states: { [tid(1)]: 'AB', [tid(2)]: 'A', [tid(3)]: 'AG' },
    absent: [
      [5, tid(2)],
      [5, tid(3)],
    ],
  },
  {
    // Block 1's object is deleted at 2, and the table still refers to it.
    name: 'dangling',
    states: { [tid(1)]: 'AB', [tid(2)]: 'A!' },
    absent: [[5, tid(2)]],
  },
]

/** A FileStorage's transactions. */
export const historyOf = (path: string): History =>
  [...readFileStorage(path)].map(({ tid, user, description, extension, records }) => ({
    tid: knownTid(tid),
    user: String(user),
    description: String(description),
    extension,
    records: new Map(records.map(({ oid, data }) => [knownOid(Number(oid)), data])),
  }))

/** The same transactions as a RelStorage database. */
export function asRelStorage(path: string): string {
  const made = join(temporaryDirectory(), 'main.sqlite3')
  const { db } = new PreservingDatabase(made).add(historyOf(path))
  const pack = db.prepare('UPDATE "transaction" SET packed = TRUE WHERE tid = ?')
  for (const { tid, status } of readFileStorage(path)) if (status === 'p') pack.run(tid)
  db.close()
  return made
}

export const STORES: readonly {
  readonly kind: string
  /** The database as this store has it. */
  readonly make: (path: string) => string
  readonly open: (path: string) => Promise<Store>
}[] = [
  {
    kind: 'FileStorage',
    make: path => path,
    open: path => openFileStorage(path, { cacheDirectory: temporaryDirectory() }),
  },
  { kind: 'RelStorage', make: asRelStorage, open: openRelStorage },
]
