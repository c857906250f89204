import type { CheckMemory } from '../../check-memory.ts'
import Database from 'better-sqlite3'
import type { Checking, StorageCheckOptions, StorageDamage, StorageRepair } from '../../capabilities.ts'
import type { RevisionReader } from '../../stored-revisions.ts'
import { type Access, openerOf } from '../../encryption/seals.ts'
import { StoreError } from '../../errors.ts'
import type { Oid, Tid } from '../../ids.ts'
import { epochsOf } from '../epoch-rows.ts'
import { connectReadOnly } from '../open/immutable.ts'
import { WriterLock } from '../open/writer-lock.ts'
import { openRevisionReader } from '../revision-reader.ts'
import { storeError } from '../sqlite-errors.ts'
import { lossName } from '../../indexed/check/losses.ts'
import { CheckFile } from './check-file.ts'
import { filesToCheck } from './files-to-check.ts'

// Most databases that are opened are not checked.
const storageCheck = () => import('./storage-check.ts')
const rowRepair = () => import('./repair-rows.ts')
const logRepair = () => import('./repair-log.ts')

const CACHE_BYTES = 32 << 20

export class SqliteChecking implements Checking {
  readonly #path: string
  readonly #key: Access

  /** @param key undefined for a database that is not encrypted. */
  constructor(path: string, key: Access) {
    this.#path = path
    this.#key = key
  }

  get memory(): CheckMemory {
    return new CheckFile(this.#path)
  }

  async *storage(options: StorageCheckOptions): AsyncGenerator<StorageDamage> {
    const { StorageCheck } = await storageCheck()
    const scans = this.#connect()
    const lookUps = this.#connect()
    const opener = openerOf(this.#key, this.#path, () => epochsOf(scans))
    const check = new StorageCheck(scans, lookUps, options, opener)
    try {
      for await (const damage of check.run(options.everyByte)) yield withIsCurrent(lookUps, damage)
    } catch (error) {
      throw storeError(error, this.#path)
    } finally {
      check.close()
      scans.close()
      lookUps.close()
    }
  }

  reader(): RevisionReader {
    return openRevisionReader(this.#path, this.#key, filesToCheck, CACHE_BYTES)
  }

  async isAccepted(oid: Oid, tid: Tid): Promise<boolean> {
    const db = this.#connect()
    try {
      return db.prepare('SELECT 1 FROM meta WHERE name = ?').get(lossName(oid, tid)) !== undefined
    } catch (error) {
      throw storeError(error, this.#path)
    } finally {
      db.close()
    }
  }

  async accept(losses: readonly { readonly oid: Oid; readonly tid: Tid }[]): Promise<void> {
    const { noteLosses } = await rowRepair()
    noteLosses(
      this.#path,
      losses.map(({ oid, tid }) => lossName(oid, tid)),
    )
  }

  async beginRepair(purpose: string): Promise<StorageRepair> {
    const { repairRows } = await rowRepair()
    const { assertRepairable, repairLog } = await logRepair()
    const lock = WriterLock.take(this.#path, purpose)
    try {
      assertRepairable(this.#path)
    } catch (error) {
      lock.release()
      throw storeError(error, this.#path)
    }
    return {
      mend: async index => {
        if (index) mendRows(this.#path, repairRows)
        repairLog(this.#path)
      },
      end: async () => lock.release(),
    }
  }

  #connect(): Database.Database {
    const db = connectReadOnly(this.#path)
    db.pragma(`cache_size = -${CACHE_BYTES >> 10}`)
    return db
  }
}

function withIsCurrent(db: Database.Database, damage: StorageDamage): StorageDamage {
  const { oid, tid } = damage
  if (oid === undefined || tid === undefined) return damage
  const query = 'SELECT tid FROM revision INDEXED BY revision_by_oid WHERE oid = ? LIMIT 1'
  const newest = db.prepare<[number], bigint>(query).pluck().safeIntegers().get(oid)
  return { ...damage, isCurrent: newest === undefined || newest <= tid }
}

function mendRows(path: string, repair: (path: string) => void): void {
  try {
    repair(path)
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error
    throw new StoreError(
      `the tables of ${path} cannot be read to their end (${error.message}), and nothing was changed`,
      { code: 'damaged-file', path, cause: error },
    )
  }
}
