/** Packs until it is killed, and prints a letter before each step. Arguments: the database, from, a tag. */
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { pack } from '../../../core/pack/pack.ts'
import { tid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'

const STEP_PAUSE_MS = 5

const [, , path = '', from = '', tag = ''] = process.argv
const store = await openSqliteStore(path, { purpose: 'a test' })
const step = store.packStep.bind(store)
store.packStep = async request => {
  writeSync(1, request.kind.slice(0, 1))
  await sleep(STEP_PAUSE_MS)
  return await step(request)
}
await pack(store, { from: tid(BigInt(from)), moments: () => Promise.resolve([tid(BigInt(tag))]) })
await store.close()
