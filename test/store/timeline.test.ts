/** Tids, ages and times across jumps of the clock. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { ROOT_OID, TID_NONE, tidFromTime, type Tid } from '../../store/ids.ts'
import type { ClockSample } from '../../store/indexed/database-clock.ts'
import { MemoryDatabase, MemoryStore } from '../../store/memory/memory-store.ts'
import { findMoment } from '../../store/moments.ts'
import { historyStart } from '../../core/pack/moments.ts'

const SECOND_MS = 1000
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const START_MS = Date.UTC(2026, 5, 1)

/** A machine whose clock a test sets, and what it commits. */
class Machine {
  readonly database = new MemoryDatabase()
  store = this.open()
  upMs = 0
  boot = 'first'
  isUpKnown = true
  isSynchronised = false

  open(): MemoryStore {
    return new MemoryStore(this.database, () => this.#sample())
  }

  #sample(): ClockSample | undefined {
    const { upMs, boot, isSynchronised } = this
    return this.isUpKnown ? { wallMs: Date.now(), upMs, boot, isSynchronised } : undefined
  }

  pass(ms: number): void {
    this.upMs += ms
    vi.setSystemTime(Date.now() + ms)
  }

  jump(ms: number): void {
    vi.setSystemTime(Date.now() + ms)
  }

  /** @param offMs how long it is off. @param errorMs how far its clock is ahead then. */
  async reboot(offMs: number, errorMs = 0): Promise<void> {
    this.jump(offMs + errorMs)
    this.boot += '+'
    this.upMs = 0
    await this.restart()
  }

  async jumps(): Promise<number> {
    return (await this.store.capabilities.dating?.timeline())?.jumps.length ?? 0
  }

  async commit(): Promise<Tid> {
    const base = (await this.store.revisions(ROOT_OID))[0] ?? TID_NONE
    return await this.store.commit({
      changes: [{ oid: ROOT_OID, base, record: { head: new Uint8Array(1) } }],
    })
  }

  async restart(): Promise<void> {
    await this.store.close()
    this.store = this.open()
  }

  async at(text: string): Promise<Tid | undefined> {
    return await findMoment(this.store, text, () => Promise.resolve(undefined))
  }

  async shownAt(tid: Tid): Promise<number> {
    return (await this.store.capabilities.dating?.timeline())?.timeOf(tid) ?? Number.NaN
  }
}

let machine: Machine
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: START_MS })
  machine = new Machine()
})
afterEach(() => void vi.useRealTimers())

test('without a jump a tid is the time', async () => {
  const tid = await machine.commit()
  expect(tid).toBe(tidFromTime(START_MS))
  machine.pass(10 * SECOND_MS)
  const next = await machine.commit()
  machine.pass(5 * SECOND_MS)
  expect([await machine.at('6s'), await machine.at('4s')]).toEqual([tid, next])
  machine.pass(30 * DAY_MS)
  expect(await machine.at('31d')).toBe(tid)
  expect((await machine.store.capabilities.dating?.timeline())?.jumps).toEqual([])
})

for (const restarts of [false, true])
  test(`30 days ahead and back${restarts ? ', each in another process' : ''}: ages are what has really passed`, async () => {
    const restart = async (): Promise<void> => {
      if (restarts) await machine.restart()
    }
    const first = await machine.commit()
    // The sample of both clocks is kept once a minute.
    machine.pass(2 * HOUR_MS)
    const second = await machine.commit()
    machine.jump(30 * DAY_MS)
    await restart()
    machine.pass(10 * SECOND_MS)
    const ahead = await machine.commit()
    machine.pass(HOUR_MS)
    expect(await machine.at('2h')).toBe(first)
    expect(await machine.at('3605s')).toBe(second)
    expect(await machine.at('1s')).toBe(ahead)
    expect(await historyStart(machine.store, { keepMs: 7 * DAY_MS })).toBeLessThan(first)
    const still = await machine.commit()

    machine.jump(-30 * DAY_MS)
    await restart()
    const tids: Tid[] = []
    for (let count = 0; count < 5; count++) {
      machine.pass(10 * SECOND_MS)
      tids.push(await machine.commit())
      expect(await machine.shownAt(tids.at(-1) ?? still)).toBeCloseTo(Date.now(), -1)
    }
    machine.pass(5 * SECOND_MS)
    expect(tids.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(tids)
    expect(tids[0]).toBeGreaterThan(still)
    expect(await machine.at('1s')).toBe(tids[4])
    expect(await machine.at('24s')).toBe(tids[2])
    expect(await machine.at('50s')).toBe(still)
    expect(await machine.at('3660s')).toBe(second)
    expect(await machine.at(new Date(Date.now() - 24 * SECOND_MS).toISOString())).toBe(tids[2])
    expect(await historyStart(machine.store, { keepMs: 7 * DAY_MS })).toBeLessThan(first)

    expect((await machine.store.capabilities.dating?.timeline())?.jumps).toHaveLength(2)

    // Tids run at half the rate until the clock has caught up with them.
    machine.pass(70 * DAY_MS)
    const caughtUp = await machine.commit()
    expect(caughtUp).toBe(tidFromTime(Date.now()))
    expect(await machine.at('69d')).toBe(tids[4])
    expect(await historyStart(machine.store, { keepMs: 7 * DAY_MS })).toBe(
      tidFromTime(Date.now() - 7 * DAY_MS),
    )
  })

test('a clock that was ahead before a reboot is detected from the last transaction', async () => {
  machine.jump(30 * DAY_MS)
  const ahead = await machine.commit()
  machine.boot = 'second'
  machine.upMs = 0
  machine.jump(-30 * DAY_MS)
  await machine.restart()
  machine.pass(10 * SECOND_MS)
  const tid = await machine.commit()
  machine.pass(10 * SECOND_MS)
  expect([await machine.at('1s'), await machine.at('11s')]).toEqual([tid, ahead])
})

test('a clock change of less than a minute, or an unknown one, is accepted', async () => {
  await machine.commit()
  machine.jump(30 * SECOND_MS)
  await machine.commit()
  machine.jump(-30 * SECOND_MS)
  await machine.commit()
  machine.isUpKnown = false
  machine.jump(DAY_MS)
  await machine.commit()
  expect((await machine.store.capabilities.dating?.timeline())?.jumps).toEqual([])
})

/** Two transactions, an hour and a minute before the machine is switched off. */
async function commitTwo(): Promise<readonly [Tid, Tid]> {
  const first = await machine.commit()
  machine.pass(59 * 60 * SECOND_MS)
  const second = await machine.commit()
  machine.pass(60 * SECOND_MS)
  return [first, second]
}

test.each([
  ['ahead', 30 * DAY_MS],
  ['behind the last transaction', -30 * DAY_MS],
  ['behind, by less than the time off', -3 * HOUR_MS],
])('a clock that is %s after a boot, and is soon corrected, changes no age', async (_, errorMs) => {
  const [first, second] = await commitTwo()
  await machine.reboot(5 * HOUR_MS, errorMs)
  machine.pass(60 * SECOND_MS)
  const wrong = await machine.commit()
  machine.pass(60 * SECOND_MS)
  machine.jump(-errorMs)
  machine.pass(60 * SECOND_MS)
  const right = await machine.commit()
  await machine.restart()
  machine.pass(60 * SECOND_MS)
  const at = async (...texts: readonly string[]): Promise<readonly (Tid | undefined)[]> =>
    await Promise.all(texts.map(async text => await machine.at(text)))
  expect(await at('30s', '90s', '4h', '5h', '19500s')).toEqual([right, wrong, second, second, first])
  expect(await machine.shownAt(second)).toBe(START_MS + 59 * 60 * SECOND_MS)
  expect(await machine.shownAt(right)).toBeCloseTo(Date.now() - 60 * SECOND_MS, -1)
  expect(await historyStart(machine.store, { keepMs: DAY_MS })).toBeLessThan(first)
  expect(await machine.jumps()).toBe(2)
})

test('a clock that is corrected after a boot before anything was written was never wrong', async () => {
  const [, second] = await commitTwo()
  await machine.reboot(5 * HOUR_MS, -30 * DAY_MS)
  expect(await machine.jumps()).toBe(1)
  machine.pass(60 * SECOND_MS)
  machine.jump(30 * DAY_MS)
  expect(await machine.jumps()).toBe(0)
  await machine.restart()
  expect([await machine.jumps(), await machine.at('5h')]).toEqual([0, second])
})

test('a clock that is set hours after a boot is wrong from then on, unless it was wrong for certain', async () => {
  const [first] = await commitTwo()
  await machine.reboot(5 * HOUR_MS)
  machine.pass(2 * HOUR_MS)
  const third = await machine.commit()
  machine.jump(30 * DAY_MS)
  machine.pass(60 * SECOND_MS)
  expect([await machine.at('30s'), await machine.at('8h'), await machine.jumps()]).toEqual([third, first, 1])

  await machine.reboot(HOUR_MS, -60 * DAY_MS)
  machine.pass(2 * HOUR_MS)
  const behind = await machine.commit()
  machine.pass(60 * SECOND_MS)
  machine.jump(60 * DAY_MS)
  expect([await machine.at('30s'), await machine.at('3h'), await machine.jumps()]).toEqual([behind, third, 3])
})

test('a clock that was set back over a reboot is detected from the last sample', async () => {
  const first = await machine.commit()
  machine.pass(2 * HOUR_MS)
  // Keeps a sample later than the last transaction.
  machine.jump(HOUR_MS)
  await machine.jumps()
  await machine.reboot(0, -2 * HOUR_MS)
  machine.pass(60 * SECOND_MS)
  expect([await machine.jumps(), await machine.at('119m'), await machine.at('10s')]).toEqual([
    2,
    first,
    first,
  ])
})

test('a long time off drops no history before the clock is known to be right', async () => {
  const [first] = await commitTwo()
  const isKept = async (): Promise<boolean> =>
    (await historyStart(machine.store, { keepMs: 7 * DAY_MS })) <= first
  await machine.reboot(365 * DAY_MS)
  machine.pass(60 * SECOND_MS)
  await machine.commit()
  expect([await isKept(), await machine.at('1h')]).toEqual([true, await machine.at('364d')])
  machine.isSynchronised = true
  expect(await isKept()).toBe(false)
  machine.isSynchronised = false
  await machine.restart()
  expect(await isKept()).toBe(true)
  machine.pass(DAY_MS)
  expect(await isKept()).toBe(false)
})
