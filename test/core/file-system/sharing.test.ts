/** The lease of a mount that writes beside others, over a store and a filesystem that are replaced. */
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { setTimeout as sleep } from 'node:timers/promises'
import { Handles } from '../../../core/file-system/inodes/handles.ts'
import { SharedLocks } from '../../../core/file-system/shared/locks.ts'
import { Sharing, type SharingParts } from '../../../core/file-system/shared/sharing.ts'
import { ino, type Fh } from '../../../core/file-system/operations.ts'
import type { Context } from '../../../core/file-system/context.ts'
import { WriterGoneError } from '../../../store/errors.ts'
import type { FileLocking, LockOwner } from '../../../store/file-locking.ts'
import { oid, TID_NONE, type Tid } from '../../../store/ids.ts'
import type { LeaseWatcher } from '../../../store/leasing.ts'

function opened() {
  const state = {
    isHolder: true,
    released: 0,
    rejoined: 0,
    isDirty: false,
    whileReverting: () => undefined as void | Promise<void>,
    /** What the answers to requests for the lease wait for. */
    answers: Promise.resolve(),
    /** The answer about what others have stored. */
    settled: Promise.resolve({ tid: TID_NONE, isHeld: false }),
  }
  const watchers: LeaseWatcher[] = []
  const leasing = {
    watch: (watcher: LeaseWatcher) => void watchers.push(watcher),
    isConfirmed: () => true,
    isHolder: () => state.isHolder,
    acquire: async () => {
      state.isHolder = true
      await state.answers
      return TID_NONE
    },
    release: async () => {
      state.isHolder = false
      state.released++
    },
    settle: () => state.settled,
    rejoin: async () => {
      state.isHolder = false
      state.rejoined++
    },
  }
  const handles = new Handles()
  const context = {
    handles,
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
        await state.whileReverting()
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
  return { state, sharing, handles, recall: () => watchers[0]?.onRecall(), fence: watchers[0]?.onFenced }
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

/** Lets a mount pass the lease on. */
async function release({
  state,
  recall,
}: Pick<ReturnType<typeof opened>, 'state' | 'recall'>): Promise<void> {
  const { released } = state
  recall()
  await vi.waitFor(() => expect(state.released).toBe(released + 1))
}

test('a mount that is reported to hold the lease while it passes it on holds it no longer', async () => {
  const { state, sharing, recall } = opened()
  await release({ state, recall })
  const settled = Promise.withResolvers<{ tid: Tid; isHeld: boolean }>()
  state.settled = settled.promise
  const settling = sharing.settle()
  await sharing.change(() => undefined)
  const answers = Promise.withResolvers<void>()
  state.answers = answers.promise
  settled.resolve({ tid: TID_NONE, isHeld: true })
  await sleep(0)
  await release({ state, recall })
  answers.resolve()
  await settling
  expect(sharing.isHeld).toBe(state.isHolder)
  await sharing.change(() => expect(state.isHolder).toBe(true))
})

test('a mount that rejoins while it waits for the lease does not hold that of its former epoch', async () => {
  const { state, sharing, recall, fence } = opened()
  await release({ state, recall })
  const answers = Promise.withResolvers<void>()
  state.answers = answers.promise
  const changing = sharing.change(() => expect(state.isHolder).toBe(true))
  await sleep(0)
  fence?.(new WriterGoneError('cut off'))
  await sharing.rejoin()
  answers.resolve()
  await changing
  expect(state.rejoined).toBe(1)
})

test('a mount with unstored changes that is fenced while it settles keeps them', async () => {
  const { state, sharing, recall, fence } = opened()
  await release({ state, recall })
  const settled = Promise.withResolvers<{ tid: Tid; isHeld: boolean }>()
  state.settled = settled.promise
  const settling = sharing.settle()
  await sharing.change(() => void (state.isDirty = true))
  fence?.(new WriterGoneError('cut off'))
  settled.resolve({ tid: TID_NONE, isHeld: true })
  await settling
  expect(state).toMatchObject({ isDirty: true, rejoined: 0 })
})

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

test('an fsync of what a rejoin drops fails, once, whether it began before or after', async () => {
  const { state, sharing, handles, fence } = opened()
  const open = (): Fh => handles.add({ kind: 'generated', content: new Uint8Array() })
  const [running, before] = [open(), open()]
  state.isDirty = true
  const work = Promise.withResolvers<void>()
  const fsync = sharing.dropped.fsync(() => work.promise, running)
  const sync = sharing.dropped.sync(() => work.promise)
  fence?.(new WriterGoneError('cut off'))
  await sharing.rejoin()
  work.resolve()
  await expect(fsync).rejects.toMatchObject({ code: 'EIO' })
  await expect(sync).rejects.toThrow('dropped')
  const done = async (): Promise<void> => undefined
  await expect(sharing.dropped.fsync(done, before)).rejects.toMatchObject({ code: 'EIO' })
  for (const fh of [running, before, open()]) await sharing.dropped.fsync(done, fh)
})

test('a sync that begins while a rejoin drops changes fails', async () => {
  const { state, sharing, fence } = opened()
  const work = Promise.withResolvers<void>()
  let sync: Promise<void> | undefined
  state.isDirty = true
  state.whileReverting = () => void (sync = sharing.dropped.sync(() => work.promise))
  fence?.(new WriterGoneError('cut off'))
  await sharing.rejoin()
  work.resolve()
  await expect(sync).rejects.toThrow('dropped')
})

test('a lock that is granted during the rejoin which drops its file is released', async () => {
  const { state, sharing, fence } = opened()
  const file = { isGone: false }
  const granted = Promise.withResolvers<'locked'>()
  const unlocked: unknown[] = []
  const locking = {
    lock: () => granted.promise,
    unlock: async (of: unknown) => void unlocked.push(of),
  } as unknown as FileLocking
  const live = {
    isRetired: () => file.isGone,
    oidOf: () => oid(70),
    knownOf: () => file,
    known: () => undefined,
  }
  const locks = new SharedLocks(locking, { live } as unknown as Context, sharing)
  const owner: LockOwner = { kind: 'fcntl', id: 1n }
  const range = { start: 0n, last: 9n, isExclusive: true, pid: 1 }
  const lock = locks.lock(ino(70), owner, range)
  lock.catch(() => undefined)
  state.isDirty = true
  state.whileReverting = async () => {
    granted.resolve('locked')
    await sleep(10)
    file.isGone = true
  }
  fence?.(new WriterGoneError('cut off'))
  await sharing.rejoin()
  await expect(lock).rejects.toMatchObject({ code: 'ESTALE' })
  expect(unlocked).toEqual([oid(70)])
})

test('a rejoin that drops nothing fails no fsync', async () => {
  const { sharing, handles, fence } = opened()
  const fh = handles.add({ kind: 'generated', content: new Uint8Array() })
  fence?.(new WriterGoneError('cut off'))
  await sharing.rejoin()
  await sharing.dropped.fsync(async () => undefined, fh)
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
