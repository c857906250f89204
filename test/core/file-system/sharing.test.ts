/** The lease of a mount that writes beside others, over a store and a filesystem that are replaced. */
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { setTimeout as sleep } from 'node:timers/promises'
import { Sharing, type SharingParts } from '../../../core/file-system/shared/sharing.ts'
import { WriterGoneError } from '../../../store/errors.ts'
import { TID_NONE } from '../../../store/ids.ts'
import type { LeaseWatcher } from '../../../store/leasing.ts'

function opened() {
  const state = { released: 0, rejoined: 0, isDirty: false, whileReverting: () => undefined as void }
  const watchers: LeaseWatcher[] = []
  const leasing = {
    watch: (watcher: LeaseWatcher) => void watchers.push(watcher),
    isConfirmed: () => true,
    acquire: () => Promise.resolve(TID_NONE),
    release: async () => void state.released++,
    rejoin: async () => void state.rejoined++,
  }
  const context = {
    live: {
      nodes: [],
      accessTimes: new Map(),
      connection: { at: TID_NONE, forgetOids: () => undefined, forgetNew: () => undefined },
    },
    caches: { invalidateTree: () => undefined },
    bookkeeping: { restart: async () => undefined },
    writeBack: {
      get isDirty() {
        return state.isDirty
      },
      storeAll: async () => undefined,
      revert: async (restore: () => Promise<void>) => {
        state.whileReverting()
        state.isDirty = false
        await restore()
      },
    },
  }
  const sharing = new Sharing({
    store: { lastTid: () => Promise.resolve(TID_NONE) },
    leasing,
    watching: { watch: () => () => undefined },
    context,
    log: pino({ level: 'silent' }),
  } as unknown as SharingParts)
  sharing.start()
  return { state, sharing, recall: () => watchers[0]?.onRecall(), fence: watchers[0]?.onFenced }
}

test.each(['commit', 'roll back'])(
  'a transaction whose %s takes long is not rolled back for another mount meanwhile',
  async how => {
    const { state, sharing, recall } = opened()
    const rollBack = vi.fn<() => Promise<void>>(async () => undefined)
    await sharing.beginTransaction(async () => undefined, rollBack)
    const end = Promise.withResolvers<void>()
    const ending =
      how === 'commit'
        ? sharing.endTransaction(() => end.promise)
        : sharing.rollBackTransaction(() => end.promise)
    recall()
    await sleep(30)
    const now = performance.now.bind(performance)
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + 60_000)
    try {
      await sleep(100)
    } finally {
      clock.mockRestore()
    }
    end.resolve()
    await ending
    await vi.waitFor(() => expect(state.released).toBe(1))
    expect(rollBack).not.toHaveBeenCalled()
    expect(await sharing.change(() => 'changed')).toBe('changed')
  },
)

test('a mount that is fenced again while it rejoins rejoins once more', async () => {
  const { state, sharing, fence } = opened()
  state.isDirty = true
  fence?.(new WriterGoneError('cut off'))
  await expect(sharing.change(() => undefined)).rejects.toBeInstanceOf(WriterGoneError)
  // A commit that was waiting has no lease.
  state.whileReverting = () => {
    if (state.rejoined === 1) fence?.(new WriterGoneError('no lease'))
  }
  await sharing.rejoin()
  expect(await sharing.change(() => 'changed')).toBe('changed')
  expect(state.rejoined).toBe(2)
  expect(sharing.state).toBe('held')
})

test.each([true, false])(
  'a transaction that is open when the mount rejoins is rolled back, and its command changes nothing outside of it (unstored changes: %s)',
  async isDirty => {
    const { state, sharing, fence } = opened()
    await sharing.beginTransaction(
      async () => undefined,
      async () => undefined,
    )
    state.isDirty = isDirty
    fence?.(new WriterGoneError('cut off'))
    if (isDirty) await sharing.rejoin()
    const change = vi.fn<() => void>()
    await expect(sharing.change(change)).rejects.toMatchObject({ code: 'EIO' })
    expect(change).not.toHaveBeenCalled()
    const end = vi.fn<() => Promise<void>>(async () => undefined)
    await expect(sharing.endTransaction(end)).rejects.toMatchObject({ code: 'conflict' })
    expect(end).not.toHaveBeenCalled()
    await sharing.rollBackTransaction(async () => undefined)
    expect(await sharing.change(() => 'changed')).toBe('changed')
  },
)

test('the end of a transaction for which the mount rejoins is a conflict', async () => {
  const { sharing, fence } = opened()
  await sharing.beginTransaction(
    async () => undefined,
    async () => undefined,
  )
  fence?.(new WriterGoneError('cut off'))
  await sleep(10)
  await expect(sharing.endTransaction(async () => undefined)).rejects.toMatchObject({ code: 'conflict' })
  expect(await sharing.change(() => 'changed')).toBe('changed')
})

test('a transaction whose command ends while the mount is fenced stops nothing after the rejoin', async () => {
  const { state, sharing, fence } = opened()
  await sharing.beginTransaction(
    async () => undefined,
    async () => undefined,
  )
  state.isDirty = true
  const gone = new WriterGoneError('cut off')
  fence?.(gone)
  await expect(sharing.endTransaction(async () => undefined)).rejects.toBe(gone)
  await expect(sharing.rollBackTransaction(() => Promise.reject(gone))).rejects.toBe(gone)
  await sharing.rejoin()
  expect(await sharing.change(() => 'changed')).toBe('changed')
})
