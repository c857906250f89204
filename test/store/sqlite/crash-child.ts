/**
 * Commits numbered transactions until it is killed, and prints `NUMBER TID` when each is acknowledged.
 * Arguments: the database, and the number of the first transaction.
 */
import { writeSync } from 'node:fs'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { TID_MAX, TID_NONE } from '../../../store/ids.ts'
import { crashOids, crashRecord } from './crash-records.ts'

const [, , path = '', first = '1'] = process.argv
const store = await openSqliteStore(path, { create: true, purpose: 'a test' })
for (let number = Number(first); ; number++) {
  const oids = crashOids(number)
  const current = await store.load(oids, TID_MAX)
  const changes = oids.map((oid, index) => ({
    oid,
    base: current[index]?.tid ?? TID_NONE,
    record: { head: new Uint8Array(0), body: [crashRecord(number, oid)] },
  }))
  const tid = await store.commit({ changes, description: String(number) })
  writeSync(1, `${number} ${tid}\n`)
}
