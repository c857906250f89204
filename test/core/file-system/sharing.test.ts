/** The lease of a mount that writes beside others, over a store and a filesystem that are replaced. */
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { setTimeout as sleep } from 'node:timers/promises'
import { Sharing, type SharingParts } from '../../../core/file-system/sharing.ts'
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
    live: { nodes: [], connection: { at: TID_NONE, forgetOids: () => undefined } },
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
