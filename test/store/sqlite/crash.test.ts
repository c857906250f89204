/** Kills a process that commits at random moments, and checks the database. CRASH_KILLS and CRASH_SEED repeat a run. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { expect, onTestFinished, test } from 'vitest'
import type { Oid, Tid } from '../../../store/ids.ts'
import { TID_NONE } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { Store } from '../../../store/store.ts'
import { expectBytes } from '../history.ts'
import { crashOids, crashRecord } from './crash-records.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const KILLS = Number(process.env['CRASH_KILLS'] ?? 12)
const SEED = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000)

test(`a process killed ${KILLS} times in mid-commit loses nothing it acknowledged and leaves nothing half done (CRASH_SEED=${SEED})`, async () => {
  const directory = await temporaryDirectory()
  onTestFinished(async () => await rm(directory, { recursive: true, force: true }))
  const path = `${directory}/test.db`
  let state = SEED
  let committed = 0
  const newest = new Map<Oid, number>()
  for (let kill = 0; kill < KILLS; kill++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const acknowledged = await runAndKill(path, committed + 1, state % 400)
    const reader = await openSqliteStore(path, { create: true })
    const numbers = await verifyNew(reader, committed, newest)
    expect(numbers, `what was acknowledged before kill ${kill}`).toBeGreaterThanOrEqual(acknowledged)
    committed = numbers
    await reader.close()
  }
  expect(committed).toBeGreaterThan(KILLS)
})

/** Returns the number of the last acknowledged transaction. */
async function runAndKill(path: string, first: number, afterMs: number): Promise<number> {
  const script = new URL('crash-child.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script, path, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  const exited = once(child, 'close')
  child.stdout.on('data', (data: Buffer) => (output += data.toString()))
  await once(child.stdout, 'data')
  await new Promise(resolve => setTimeout(resolve, afterMs))
  child.kill('SIGKILL')
  await exited
  const last = output.slice(0, output.lastIndexOf('\n')).split('\n').at(-1) ?? ''
  return Number(last.split(' ')[0] ?? first - 1)
}

/** Checks the transactions after number `last` and the present state of all objects; returns the number of the last transaction. */
async function verifyNew(store: Store, last: number, newest: Map<Oid, number>): Promise<number> {
  const tids: Tid[] = []
  let number = 0
  for await (const { tid, description, objects } of store.transactions()) {
    number++
    expect(Number(description), 'transactions are without gaps').toBe(number)
    expect(objects).toBe(crashOids(number).length)
    if (number <= last) continue
    tids.push(tid)
    const oids = crashOids(number)
    const loaded = await store.load(oids, tid)
    oids.forEach((oid, index) => {
      expect(loaded[index]?.tid).toBe(tid)
      expectBytes(loaded[index]?.record, crashRecord(number, oid), `object ${oid} of transaction ${number}`)
      newest.set(oid, number)
    })
  }
  for await (const { tid, oids } of store.changes(tids[0] === undefined ? await store.lastTid() : TID_NONE)) {
    expect(oids.length, `objects of ${tid}`).toBeGreaterThan(0)
  }
  const oids = [...newest.keys()].toSorted((a, b) => a - b)
  const loaded = await store.load(oids, await store.lastTid())
  oids.forEach((oid, index) => {
    expectBytes(loaded[index]?.record, crashRecord(newest.get(oid) ?? 0, oid), `object ${oid} at last`)
  })
  return number
}
