/** Databases whose packs are compared (changed-mark.test.ts): how each kind is opened, copied and looked at. */
import { cpSync, existsSync, rmSync } from 'node:fs'
import Sqlite from 'better-sqlite3'
import { expect, onTestFinished } from 'vitest'
import { UNIT_BYTES } from '../../../store/indexed/frame.ts'
import { MARK_MEMORY, MarkMemory } from '../../../store/indexed/pack/mark-memory.ts'
import { memoryInNote } from '../../../store/indexed/pack/packing.ts'
import type { PackRunParts } from '../../../store/indexed/pack/pack-run.ts'
import type { PackSource } from '../../../store/indexed/pack/pack-source.ts'
import type { PackStep, PackStepResult } from '../../../store/indexed/pack/pack-steps.ts'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import type { WritablePostgresStore } from '../../../store/postgres/postgres-store.ts'
import { logDirectory } from '../../../store/sqlite/log.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { markPath, openMarkMemory } from '../../../store/sqlite/pack/mark-file.ts'
import { openRevisionReader } from '../../../store/sqlite/revision-reader.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import { makePostgresDatabase, type TestPostgresDatabase } from '../../tools/postgres-server.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'
import { checkTables, storedRevisions } from './object-model.ts'

/** Runs a step of the pack. */
type RunStep = (step: PackStep) => Promise<PackStepResult>

/** A database opened to be packed. The caller closes both. */
export interface Opened {
  readonly store: WritableStore & {
    packStep(step: PackStep): Promise<PackStepResult>
    setNote(name: string, value: string): Promise<void>
  }
  readonly reader: PackSource & { close(): void }
  openMemory(isTemporary: boolean, step: RunStep): ReturnType<PackRunParts['openMemory']>
}

export interface PackedDatabase {
  /** A path or an address. */
  readonly path: string
  /** Whether it can be copied while it is open. */
  readonly isCopiedOpen: boolean
  /** Makes it if it is not there. */
  openStore(): Promise<WritableStore>
  openReader(): Promise<Store>
  open(): Promise<Opened>
  /** A copy, without what packs remember. Nothing may be committed meanwhile. */
  copy(): Promise<PackedDatabase>
  /** Each as `oid tid`. */
  revisions(): Promise<ReadonlySet<string>>
  /** Checks what holds between the tables, whatever was packed. */
  checkTables(): Promise<void>
}

export class PackedSqlite implements PackedDatabase {
  readonly path = temporaryDatabase()
  readonly isCopiedOpen = true

  openStore(): Promise<WritableStore> {
    return openSqliteStore(this.path, { create: true })
  }

  openReader(): Promise<Store> {
    return openSqliteStore(this.path, { readOnly: true })
  }

  async open(): Promise<Opened> {
    return {
      store: await openSqliteStore(this.path),
      reader: openRevisionReader(this.path, undefined),
      openMemory: isTemporary => openMarkMemory(this.path, isTemporary),
    }
  }

  async copy(): Promise<PackedSqlite> {
    const copy = new PackedSqlite()
    const db = new Sqlite(this.path, { readonly: true })
    await db.backup(copy.path)
    db.close()
    const copied = new Sqlite(copy.path)
    copied.exec("DELETE FROM meta WHERE name = 'written to as inode'")
    copied.close()
    const log = logDirectory(this.path)
    if (existsSync(log)) cpSync(log, logDirectory(copy.path), { recursive: true })
    rmSync(markPath(copy.path), { force: true })
    return copy
  }

  revisions(): Promise<ReadonlySet<string>> {
    return Promise.resolve(storedRevisions(this.path))
  }

  checkTables(): Promise<void> {
    checkTables(this.path)
    return Promise.resolve()
  }
}

export class PackedPostgres implements PackedDatabase {
  readonly isCopiedOpen = false
  readonly #database: TestPostgresDatabase

  private constructor(database: TestPostgresDatabase) {
    this.#database = database
    onTestFinished(() => database.remove())
  }

  static async make(): Promise<PackedPostgres> {
    return new PackedPostgres(await makePostgresDatabase())
  }

  get path(): string {
    return this.#database.url
  }

  async openStore(): Promise<WritablePostgresStore> {
    return (await openPostgresStore(this.path, { create: true, purpose: 'a test' })) as WritablePostgresStore
  }

  openReader(): Promise<Store> {
    return openPostgresStore(this.path, { readOnly: true })
  }

  async open(): Promise<Opened> {
    const store = await this.openStore()
    const reader = store.openSource()
    return {
      store,
      reader,
      openMemory: (isTemporary, step) => (isTemporary ? MarkMemory.temporary() : memoryInNote(reader, step)),
    }
  }

  async copy(): Promise<PackedPostgres> {
    const copy = await this.#database.copy()
    await copy.execute(`DELETE FROM zblkfs.meta WHERE name = '${MARK_MEMORY}'`)
    return new PackedPostgres(copy)
  }

  async revisions(): Promise<ReadonlySet<string>> {
    const rows = await this.#database.execute('SELECT oid, tid FROM zblkfs.revision')
    return new Set(rows.map(({ oid, tid }) => `${String(oid)} ${String(tid)}`))
  }

  async checkTables(): Promise<void> {
    const wrong = await this.#database.execute(`
      SELECT t.tid FROM zblkfs.txn AS t FULL JOIN (
        SELECT tid, count(*) AS objects, sum(coalesce(octet_length(head), 0) + len + coalesce(octet_length(tail), 0)) AS bytes
        FROM zblkfs.revision GROUP BY tid
      ) AS kept USING (tid)
      WHERE coalesce(kept.objects, 0) IS DISTINCT FROM t.objects OR coalesce(kept.bytes, 0) IS DISTINCT FROM t.bytes`)
    expect(wrong, 'transactions that count other revisions than there are').toEqual([])
    const used = new Set<number>()
    for (const { pos, len } of await this.#database.execute(
      'SELECT pos, len FROM zblkfs.revision WHERE pos IS NOT NULL',
    ))
      for (
        let unit = Math.floor(Number(pos) / UNIT_BYTES);
        unit * UNIT_BYTES < Number(pos) + Number(len);
        unit++
      )
        used.add(unit)
    const unused: number[] = []
    for (const { pos, len } of await this.#database.execute(
      'SELECT pos, octet_length(units) AS len FROM zblkfs.bulk',
    ))
      for (let unit = Number(pos) / UNIT_BYTES; unit * UNIT_BYTES < Number(pos) + Number(len); unit++)
        if (!used.has(unit)) unused.push(unit)
    expect(unused, 'units to which nothing points').toEqual([])
  }

  /** A note of the index; '' if there is none. */
  async note(name: string): Promise<string> {
    const [row] = await this.#database.execute(`SELECT value FROM zblkfs.meta WHERE name = '${name}'`)
    const value = row?.['value']
    return typeof value === 'string' ? value : ''
  }

  async setNote(name: string, value: string): Promise<void> {
    await this.#database.execute(`UPDATE zblkfs.meta SET value = '${value}' WHERE name = '${name}'`)
  }
}
