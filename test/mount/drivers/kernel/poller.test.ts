/** When the poller gives running operations a turn of the event loop. The device is a socket. */
import { closeSync, writeSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { pino } from 'pino'
import { afterEach, expect, test, vi } from 'vitest'
import { fcntl, socketpair } from '../../../../mount/drivers/kernel/system-calls.ts'
import { Poller } from '../../../../mount/drivers/kernel/poller.ts'

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_SEQPACKET = 5
const F_SETFL = 4
const O_NONBLOCK = 2048
const SPIN_READS = 5

afterEach(() => void vi.restoreAllMocks())

/** How often the device was read between a request and the next turn of the event loop. */
async function readsBeforeTurn(isRunning: boolean): Promise<number> {
  const pair = new Int32Array(2)
  expect(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)).toBe(0)
  const [device = -1, kernel = -1] = pair
  fcntl(device, F_SETFL, O_NONBLOCK)
  const { promise, resolve } = Promise.withResolvers<number>()
  const onEnd = vi.fn()
  let reads = 0
  const poller = new Poller(device, {
    onRequest: () => {
      // Each read takes 10 us, of the 50 that the poller waits for the next request.
      let nowMs = performance.now()
      vi.spyOn(performance, 'now').mockImplementation(() => {
        reads++
        return (nowMs += 0.01)
      })
      if (isRunning) poller.started()
      void nextTurn().then(() => resolve(reads))
      return false
    },
    onEnd,
    log: pino({ level: 'silent' }),
  })
  poller.watch()
  writeSync(kernel, 'a request')
  const found = await promise
  vi.restoreAllMocks()
  closeSync(kernel)
  await vi.waitFor(() => expect(onEnd).toHaveBeenCalled())
  closeSync(device)
  return found
}

test('a running operation has a turn of the event loop after each read without a request', async () => {
  expect(await readsBeforeTurn(true)).toBeLessThan(3)
})

test('while none is running the device is read until the caller had time for the next request', async () => {
  expect(await readsBeforeTurn(false)).toBeGreaterThanOrEqual(SPIN_READS)
})

/** What happens after a request, in order; the next request is waiting already. */
async function orderAfterRequest(isRunning: boolean): Promise<readonly string[]> {
  const pair = new Int32Array(2)
  expect(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)).toBe(0)
  const [device = -1, kernel = -1] = pair
  fcntl(device, F_SETFL, O_NONBLOCK)
  const order: string[] = []
  const onEnd = vi.fn()
  const poller = new Poller(device, {
    onRequest: () => {
      order.push('request')
      if (order.length > 1) return false
      if (isRunning) poller.started()
      void Promise.resolve().then(() => order.push('microtask'))
      return false
    },
    onEnd,
    log: pino({ level: 'silent' }),
  })
  writeSync(kernel, 'a request')
  writeSync(kernel, 'another')
  poller.watch()
  await vi.waitFor(() => expect(order).toHaveLength(3))
  closeSync(kernel)
  await vi.waitFor(() => expect(onEnd).toHaveBeenCalled())
  closeSync(device)
  return order
}

test('a running operation goes on before the next request', async () => {
  expect(await orderAfterRequest(true)).toStrictEqual(['request', 'microtask', 'request'])
})

test('while none is running the next request is read at once', async () => {
  expect(await orderAfterRequest(false)).toStrictEqual(['request', 'request', 'microtask'])
})
