import { rm } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ConflictError } from '../../../store/errors.ts'
import { TID_NONE, knownOid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { decodeTransaction, encodeTransaction } from '../../../store/sqlite/writer/wire.ts'
import { oid as toOid, tid as toTid } from '../../../store/ids.ts'
import { databaseBytes } from '../../tools/database-files.ts'
import { temporaryDirectory } from './temporary-directory.ts'

let directory: string
beforeEach(async () => {
  directory = await temporaryDirectory()
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

test('the WAL stays short under constant load', { timeout: 300_000 }, async () => {
  const path = `${directory}/test.db`
  const store = await openSqliteStore(path, { create: true })
  const oid = (await store.allocateOids(1)).first
  const body = [new Uint8Array(new SharedArrayBuffer(8 << 20))]
  let base = TID_NONE
  let longest = 0
  for (let count = 0; count < 24; count++) {
    const first = store.commit({ changes: [{ oid, base, record: { head: new Uint8Array(0), body } }] })
    base = await first
    longest = Math.max(longest, store.stats().walBytes)
  }
  expect(longest).toBeLessThan(24 << 20)
  expect(store.stats().writer).toMatchObject({
    commits: 24,
    committedBytes: 24 * (8 << 20),
    checkpointFailure: undefined,
  })
  await store.close()
  expect(await databaseBytes(path)).toBeGreaterThan(24 * (8 << 20))
})

test('a change to a small part of a database costs less than 64 KiB of file', async () => {
  const path = `${directory}/test.db`
  let store = await openSqliteStore(path, { create: true })
  const first = (await store.allocateOids(600)).first
  const body = new Uint8Array(2 << 20).fill(3)
  let tid = await store.commit({
    changes: [{ oid: first, base: TID_NONE, record: { head: new Uint8Array(60), body: [body] } }],
  })
  await store.close()
  for (let count = 0; count < 8; count++) {
    const before = await databaseBytes(path)
    store = await openSqliteStore(path)
    const base = count === 0 ? TID_NONE : tid
    const rows = [1, 2, 3].map(index => ({
      oid: knownOid(first + index),
      base,
      record: { head: new Uint8Array(1000) },
    }))
    const record = { head: new Uint8Array(60), body: [body.subarray(0, 4096)] }
    tid = await store.commit({ changes: [...rows, { oid: knownOid(first + 4), base, record }] })
    await store.close()
    expect((await databaseBytes(path)) - before).toBeLessThanOrEqual(64 << 10)
  }
})

test('what was copied for the writer is freed with its commit, also with one that fails', async () => {
  const store = await openSqliteStore(`${directory}/test.db`, { create: true })
  const oid = (await store.allocateOids(1)).first
  const record = { head: new Uint8Array(0), body: [new Uint8Array(4 << 20)] }
  let base = await store.commit({ changes: [{ oid, base: TID_NONE, record }] })
  const before = process.memoryUsage().arrayBuffers
  for (let count = 0; count < 6; count++) {
    await expect(store.commit({ changes: [{ oid, base: TID_NONE, record }] })).rejects.toThrow(ConflictError)
    base = await store.commit({ changes: [{ oid, base, record }] })
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 << 20)
  expect((await store.loadPart(oid, base, 0, 8 << 20))?.bytes.length).toBe(4 << 20)
  await store.close()
})

test('when the writer thread exits, pending and later commits are rejected, and reads continue', async () => {
  const path = `${directory}/test.db`
  const posted = vi.spyOn(Worker.prototype, 'postMessage')
  const store = await openSqliteStore(path, { create: true })
  const oid = (await store.allocateOids(1)).first
  const tid = await store.commit({ changes: [{ oid, base: TID_NONE, record: { head: Uint8Array.of(1) } }] })
  const worker = posted.mock.contexts.at(-1) as Worker
  posted.mockRestore()
  const body = [new Uint8Array(30 << 20)]
  const waiting = [0, 1].map(async index => {
    const changes = [
      { oid: knownOid(oid + 1 + index), base: TID_NONE, record: { head: new Uint8Array(0), body } },
    ]
    return await store.commit({ changes })
  })
  const settled = Promise.allSettled(waiting)
  await worker.terminate()
  for (const { status } of await settled) expect(status).toBe('rejected')
  await expect(store.commit({ changes: [] })).rejects.toThrow(
    `the writer of ${path} has ended: what was committed is safe; mount the database again`,
  )
  expect((await store.load([oid], tid))[0]?.tid).toBe(tid)
  await store.close()
  const again = await openSqliteStore(path)
  expect(await again.lastTid()).toBeGreaterThanOrEqual(tid)
  await again.close()
})

test('a transaction reaches the writer thread unchanged, shared memory by reference', () => {
  const memory = new SharedArrayBuffer(100)
  const viewed = new Uint8Array(memory, 10, 50).fill(5)
  const transaction = {
    description: 'words',
    user: 'ada',
    extension: Uint8Array.of(1, 2),
    tid: toTid(77n),
    changes: [
      { oid: toOid(2 ** 53 - 1), base: toTid(5n), record: null },
      {
        oid: toOid(1),
        base: TID_NONE,
        record: { head: Uint8Array.of(1), body: [viewed, Uint8Array.of(6, 7)], tail: Uint8Array.of(8) },
      },
      {
        oid: toOid(2),
        base: toTid(9n),
        record: {
          head: Uint8Array.of(9),
          body: { oid: toOid(4), tid: toTid(3n), off: 1, len: 2 },
          tail: Uint8Array.of(),
        },
      },
      { oid: toOid(3), base: toTid(9n), record: { head: Uint8Array.of(), tail: Uint8Array.of() } },
    ],
  }
  const wire = encodeTransaction(transaction)
  const cloned = structuredClone(wire, { transfer: [wire.copied] })
  const decoded = decodeTransaction(cloned)
  expect(decoded).toEqual(transaction)
  viewed.fill(6)
  const body = decoded.changes[1]?.record?.body
  expect(Array.isArray(body) && (body as Uint8Array[])[0]?.[0]).toBe(6)
})
