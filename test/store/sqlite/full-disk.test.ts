/** A disk that runs full: needs root, for a filesystem of a few megabytes. */
import { execFileSync } from 'node:child_process'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { NoSpaceError } from '../../../store/errors.ts'
import { TID_MAX, TID_NONE, type Oid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { temporaryDirectory } from './temporary-directory.ts'

describe.runIf(process.getuid?.() === 0)('on a disk that runs full', () => {
  let directory: string
  beforeEach(async () => {
    directory = await temporaryDirectory()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', directory])
  })
  afterEach(async () => {
    execFileSync('umount', ['-l', directory])
    await rm(directory, { recursive: true, force: true })
  })

  test('a commit fails with ENOSPC, nothing committed is lost, and commits succeed once there is space', async () => {
    const path = `${directory}/test.db`
    const ballast = `${directory}/ballast`
    await writeFile(ballast, new Uint8Array(6 << 20))
    let store = await openSqliteStore(path, { create: true })
    const committed: Oid[] = []
    const add = async (): Promise<void> => {
      const oid = (await store.allocateOids(1)).first
      const body = [new Uint8Array(500_000).fill(committed.length)]
      await store.commit({ changes: [{ oid, base: TID_NONE, record: { head: new Uint8Array(0), body } }] })
      committed.push(oid)
    }
    const expectAll = async (): Promise<void> => {
      const loaded = await store.load(committed, TID_MAX)
      loaded.forEach((revision, index) => {
        expect(revision?.record.length).toBe(500_000)
        expect(revision?.record.every(byte => byte === index)).toBe(true)
      })
    }
    let error: unknown
    for (let count = 0; count < 40 && error === undefined; count++) {
      error = await add().catch((reason: unknown) => reason)
    }
    expect(error).toBeInstanceOf(NoSpaceError)
    expect(String(error)).toContain(`no space left for ${path}`)
    expect(committed.length).toBeGreaterThan(3)
    await expect(add()).rejects.toThrow(NoSpaceError)
    await expectAll()

    await rm(ballast)
    await add()
    await expectAll()
    await store.close()
    store = await openSqliteStore(path)
    await expectAll()
    await store.close()
  })

  test('a transaction that is a little larger than the room uses half of the reserve, a larger one does not', async () => {
    const path = `${directory}/test.db`
    const store = await openSqliteStore(path, { create: true })
    const add = async (bytes: number): Promise<Oid> => {
      const oid = (await store.allocateOids(1)).first
      const body = [new Uint8Array(bytes).fill(7)]
      await store.commit({ changes: [{ oid, base: TID_NONE, record: { head: new Uint8Array(0), body } }] })
      return oid
    }
    await add(100_000)
    const { bavail, bsize } = await statfs(directory)
    await writeFile(`${directory}/ballast`, new Uint8Array(bavail * bsize - (2 << 20)))
    const oid = await add(5 << 19)
    expect((await store.load([oid], TID_MAX))[0]?.record.length).toBe(5 << 19)
    await expect(add(1 << 20)).rejects.toThrow(NoSpaceError)
    await store.close()
  })

  test('closing on a full disk loses no data', async () => {
    const path = `${directory}/test.db`
    const store = await openSqliteStore(path, { create: true })
    const oid = (await store.allocateOids(1)).first
    const body = [new Uint8Array(3 << 20).fill(7)]
    await store.commit({ changes: [{ oid, base: TID_NONE, record: { head: new Uint8Array(0), body } }] })
    await writeFile(`${directory}/ballast`, new Uint8Array(20 << 20)).catch(() => undefined)
    await store.close()
    await rm(`${directory}/ballast`)
    const again = await openSqliteStore(path)
    expect((await again.load([oid], TID_MAX))[0]?.record.length).toBe(3 << 20)
    await again.close()
  })

  test('an intent log that does not fit on the disk falls back to transactions', async () => {
    const store = await openSqliteStore(`${directory}/test.db`, { create: true })
    await writeFile(`${directory}/ballast`, new Uint8Array(6 << 20))
    await store.capabilities.intents?.read()
    expect(await store.capabilities.intents?.add(new Uint8Array(100))).toBe(false)
    const body = [new Uint8Array(3 << 20).fill(7)]
    const changes = [
      { oid: (await store.allocateOids(1)).first, base: TID_NONE, record: { head: new Uint8Array(0), body } },
    ]
    await store.commit({ changes })
    await store.close()
  })
})
