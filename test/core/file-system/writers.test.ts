/** A transaction names the processes that made its changes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { name, ROOT_INO, type Caller } from '../../../core/file-system/operations.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { summaryIn, originIn, WRITERS_MAX } from '../../../core/objects/transaction-summary.ts'
import { programOf } from '../../../core/process-program.ts'
import { TestStore } from '../../tools/test-store.ts'
import type { Store } from '../../../store/store.ts'

const OPTIONS = { commitIntervalMs: 1e9 }

async function sleeper(): Promise<number> {
  const child = spawn('sleep', ['60'])
  onTestFinished(() => void child.kill())
  await once(child, 'spawn')
  while (programOf(child.pid!) !== 'sleep') await new Promise(resolve => setTimeout(resolve, 2))
  return child.pid!
}

async function lastExtension(store: Store): Promise<Uint8Array> {
  for await (const { extension } of store.transactions({ reverse: true, limit: 1 })) return extension
  throw new Error('there is no transaction')
}

const callerOf = (pid: number, uid = 0): Caller => ({ uid, gid: 0, pid })

test('a transaction names the user, process and program of its own changes only', async () => {
  const store = new TestStore()
  const fs = await FileSystem.open(store, OPTIONS)
  const pid = await sleeper()
  await fs.mkdir(ROOT_INO, name('a'), 0o755, callerOf(pid, 1234))
  const first = await fs.sync()
  expect(originIn(await lastExtension(store)).writers).toEqual([{ uid: 1234, pid, program: 'sleep' }])
  const { file, entry } = await fs.create(ROOT_INO, name('f'), 0o644, 0, callerOf(process.pid))
  await fs.sync()
  expect(originIn(await lastExtension(store)).writers.map(writer => writer.pid)).toEqual([process.pid])
  // Later writes through the handle are its opener's.
  await fs.write(entry.attributes.ino, file.fh, 0n, Buffer.from('x'))
  expect(await fs.sync()).toBeGreaterThan(first)
  expect(originIn(await lastExtension(store)).writers.map(writer => writer.pid)).toEqual([process.pid])
  await expect(fs.rmdir(ROOT_INO, name('absent'), callerOf(pid))).rejects.toThrow()
  await fs.setattr(entry.attributes.ino, { mode: 0o600 }, callerOf(process.pid))
  await fs.sync()
  expect(originIn(await lastExtension(store)).writers.map(writer => writer.pid)).toEqual([process.pid])
  await fs.close()
})

test('the number of named processes is bounded', async () => {
  const store = new TestStore()
  const fs = await FileSystem.open(store, OPTIONS)
  for (let i = 0; i < WRITERS_MAX + 3; i++)
    await fs.mkdir(ROOT_INO, name(`${i}`), 0o755, callerOf(0x7000_0000 + i))
  await fs.sync()
  expect(originIn(await lastExtension(store)).writers).toHaveLength(WRITERS_MAX)
  await fs.close()
})

test('the summary names removed files', async () => {
  const store = new TestStore()
  const fs = await FileSystem.open(store, OPTIONS)
  await fs.mkdir(ROOT_INO, name('a'), 0o755, callerOf(1))
  await fs.mkdir(ROOT_INO, name('b'), 0o755, callerOf(1))
  await fs.sync()
  expect(summaryIn(await lastExtension(store))?.removed).toEqual([])
  await fs.rmdir(ROOT_INO, name('b'), callerOf(1))
  await fs.sync()
  const summary = summaryIn(await lastExtension(store))
  expect(summary?.removed).toHaveLength(1)
  expect(summary?.inodes).toEqual(expect.arrayContaining([...summary!.removed!]))
  await fs.close()
})

test('malformed writers are omitted', () => {
  expect(originIn(Buffer.from('not a pickle')).writers).toEqual([])
  expect(originIn(new Uint8Array()).writers).toEqual([])
})
