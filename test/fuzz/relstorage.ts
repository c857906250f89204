/** RelStorage databases of SQLite: rows with values that no RelStorage writes, and records with changed bytes. */
import { mkdtempSync, rmSync } from 'node:fs'
import Database from 'better-sqlite3'
import { join } from 'node:path'
import { openRelStorage } from '../../store/relstorage/rel-storage.ts'
import { oid as toOid, tid as toTid } from '../../store/ids.ts'
import type { History } from '../store/history.ts'
import { readFileStorage } from '../tools/file-storage-reader.ts'
import { historyFree, PreservingDatabase } from '../store/relstorage/database.ts'
import { caseFile, CASES } from '../zodb/cases.ts'
import { readAndImport } from './filestorage.ts'
import type { Fuzzer } from './kinds.ts'
import { mutate, pick } from './mutate.ts'

const ODD = ['NULL', '-1', '0', '9223372036854775807', "'text'", "x'00ff'", '1.5', '1e300', "''"]

/** A FileStorage's transactions as the database's writer takes them. */
function historyOf(path: string): History {
  return [...readFileStorage(path)].map(({ tid, user, description, extension, records }) => ({
    tid: toTid(tid),
    user: user.toString(),
    description: description.toString(),
    extension,
    records: new Map(records.map(({ oid, data }) => [toOid(oid), data])),
  }))
}

export function relStorageFuzzer(directory: string): Fuzzer {
  const histories = CASES.map(({ name }) => historyOf(caseFile(name)))
  return {
    steps: 2,
    async round(random) {
      const place = mkdtempSync(join(directory, 'round-'))
      const path = join(place, 'main.sqlite3')
      const history = pick(random, histories)
      const isFree = random.below(3) === 0
      const db = isFree ? historyFree(path, history) : new PreservingDatabase(path).add(history).db
      db.pragma('foreign_keys = OFF')
      db.pragma('ignore_check_constraints = ON')
      for (let count = 1 + random.below(3); count > 0; count--) {
        const row = db.prepare<[number], { rowid: number; state: unknown }>(
          'SELECT rowid, state FROM object_state ORDER BY rowid LIMIT 1 OFFSET ?',
        )
        const rows = db.prepare<[], number>('SELECT count(*) FROM object_state').pluck().get() ?? 0
        const found = row.get(random.below(Math.max(1, rows)))
        if (!Buffer.isBuffer(found?.state)) continue
        if (random.below(3) > 0)
          db.prepare('UPDATE object_state SET state = ? WHERE rowid = ?').run(
            mutate(found.state, random),
            found.rowid,
          )
        else {
          const table =
            isFree || random.below(2) === 0
              ? 'object_state'
              : pick(random, ['"transaction"', 'current_object'])
          const columns = db.prepare<[], { name: string }>(`PRAGMA table_info(${table})`).all()
          const { name } = pick(random, columns)
          try {
            db.prepare(
              `UPDATE OR IGNORE ${table} SET ${name} = ${pick(random, ODD)} WHERE random() % 3 = 0`,
            ).run()
          } catch (error) {
            // The column refuses the value.
            if (!(error instanceof Database.SqliteError)) throw error
          }
        }
      }
      db.close()
      await readAndImport(() => openRelStorage(path), place)
      rmSync(place, { recursive: true })
    },
  }
}
