/** A clone is stored in several transactions, and a pack may begin after each of them. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { SharedFile } from '../../../core/history/share.ts'
import { pack } from '../../../core/pack/pack.ts'
import { historyOf } from '../../../mount/daemon/history-calls.ts'
import { TID_MAX } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { Paths } from '../../tools/paths.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

type Step = (this: SharedFile, records: number) => Promise<number>

const BLOCKS = 300
const BLOCK_BYTES = 2n << 20n
const bytesOf = (block: number): Buffer => Buffer.alloc(4096, `block ${block}`)

test.each([
  ['the first pack, which marks all objects,', false, 'directory'],
  ['a later pack', true, 'directory'],
  ['a later pack', true, 'directory/file'],
])('%s drops nothing of a clone that is being made', async (_, isLater, source) => {
  const store = await openSqliteStore(temporaryDatabase(), { create: true })
  const fs = await FileSystem.open(store)
  onTestFinished(() => fs.close())
  const paths = new Paths(fs)
  await paths.mkdir('directory')
  const file = await paths.create('directory/file')
  for (let block = 0; block < BLOCKS; block++)
    await fs.write(file.ino, file.fh, BigInt(block) * BLOCK_BYTES, bytesOf(block))
  await paths.close(file)
  await fs.sync()
  const moments = (): Promise<typeof fs.openTids> => Promise.resolve(fs.openTids)
  let settled = 0
  const settle = async (): ReturnType<typeof fs.quiesce> => {
    const shared = await fs.quiesce()
    settled++
    return shared
  }
  const packed = (): Promise<unknown> => pack(store, { from: TID_MAX, moments, settle })
  if (isLater) await packed()

  const step = Object.getOwnPropertyDescriptor(SharedFile.prototype, 'step')?.value as Step
  let steps = 0
  let packing: Promise<unknown> | undefined
  vi.spyOn(SharedFile.prototype, 'step').mockImplementation(async function (this: SharedFile) {
    if (++steps === 3) {
      settled = 0
      packing = packed()
    }
    await sleep(1)
    // The pack does not wait for operations any more.
    if (settled === 3) await packing
    return await step.call(this, 5)
  })
  await historyOf(fs).clone(source, 'clone')
  vi.restoreAllMocks()
  await packing
  await packed()

  const clone = await paths.open(source === 'directory' ? 'clone/file' : 'clone')
  for (let block = 0; block < BLOCKS; block++) {
    const bytes = await paths.readAt(clone, BigInt(block) * BLOCK_BYTES, 4096)
    expect(bytes.equals(bytesOf(block)), `block ${block}`).toBe(true)
  }
  await paths.close(clone)
})
