/**
 * zblkfs databases that are sound to the store, with generated records: a record of one object has changed bytes, or is that of
 * another object, with a right checksum. What is not reached through the changed objects is read as it was.
 */
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { checkDatabase } from '../../core/check/check-database.ts'
import { describeDamage } from '../../core/check/damage.ts'
import { FileSystem } from '../../core/file-system/file-system.ts'
import { differences } from '../../core/history/difference.ts'
import { log } from '../../core/history/log.ts'
import { fileSizes } from '../../core/pack/file-sizes.ts'
import { Connection } from '../../core/objects/connection.ts'
import { classOfRecord } from '../../core/objects/record.ts'
import { StoreError } from '../../store/errors.ts'
import { oid, tid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import { makeSmallDatabase, readTree } from '../core/check/small-database.ts'
import { useAll } from '../hostile/use-all.ts'
import type { Random } from '../stress/random.ts'
import { Paths } from '../tools/paths.ts'
import type { Fuzzer } from './kinds.ts'
import { mutate, pick } from './mutate.ts'

export async function databaseFuzzer(directory: string): Promise<Fuzzer> {
  const original = join(directory, 'original')
  await makeSmallDatabase(original, true)
  const path = join(directory, 'changed')
  return {
    steps: 5,
    async round(random) {
      for (const suffix of ['', '-log']) {
        rmSync(`${path}${suffix}`, { recursive: true, force: true })
        cpSync(`${original}${suffix}`, `${path}${suffix}`, { recursive: true })
      }
      await makeUp(path, random)
      await check(path, false)
      await readHistory(path)
      const { unexpected, refused } = await useAll(path)
      const unstored = refused.filter(line => /^(sync|close): /.test(line))
      if (unstored.length > 0) throw new Error(unstored.join())
      if (unexpected.length > 0) throw new Error(unexpected.join('\n'))
      await check(path, true)
      await assertMounts(path)
    },
  }
}

/** Commits changed records. */
async function makeUp(path: string, random: Random): Promise<void> {
  const store = await openDatabase(path)
  try {
    const connection = await Connection.open(store, { cacheSizeBytes: 4 << 20 })
    const at = await store.lastTid()
    const records = (
      await store.load(
        Array.from({ length: 60 }, (_, i) => oid(i)),
        at,
      )
    ).flatMap((revision, i) => (revision === undefined ? [] : [{ oid: oid(i), ...revision }]))
    for (let count = 1 + random.below(3); count > 0; count--) {
      const { oid, tid, record } = pick(random, records)
      const other = pick(random, records).record
      const head =
        random.below(4) === 0 ? Buffer.from(other) : mutate(record, random, random.below(2) === 0 ? 0 : 40)
      connection.putRecord(oid, classIfAny(record), { head }, tid)
    }
    await connection.commit({ description: 'generated' })
  } finally {
    await store.close()
  }
}

function classIfAny(record: Uint8Array): string {
  try {
    return classOfRecord(record)
  } catch {
    return 'persistent.mapping.PersistentMapping'
  }
}

async function check(path: string, repair: boolean): Promise<void> {
  await unlessRefused(async () => {
    await checkDatabase(path, {
      data: true,
      repair,
      report: damage => assertText(describeDamage(damage)),
      progress: () => {},
    })
  })
}

async function readHistory(path: string): Promise<void> {
  const store = await openDatabase(path, { readOnly: true })
  try {
    const last = await store.lastTid()
    await unlessRefused(async () => {
      for await (const { changes } of log(store)) for (const { path } of changes) assertText(path)
    })
    await unlessRefused(async () => {
      for await (const { path } of differences(store, tid(1n), last)) assertText(path)
    })
    await unlessRefused(async () => {
      for await (const { path } of fileSizes(store)) assertText(path)
    })
  } finally {
    await store.close()
  }
}

/** A repaired database is mounted, and its files are read or named as damaged. */
async function assertMounts(path: string): Promise<void> {
  await unlessRefused(async () => {
    const store = await openDatabase(path)
    try {
      const fs = await FileSystem.open(store)
      const tree = await readTree(new Paths(fs))
      for (const text of tree.values()) assertText(text)
      await fs.close()
    } finally {
      await store.close()
    }
  })
}

/** Errors on purpose are an answer. */
async function unlessRefused(act: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    assertText(error.message)
  }
}

function assertText(text: string): void {
  if (/RangeError|TypeError|\[object |NaN|undefined/.test(text)) throw new Error(`it says: ${text}`)
}
