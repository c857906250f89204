/** Queries of `zblkfs web`: they end with their connection, and only some run at once. */
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { Api, type Parameters } from '../../scripts/web/api.ts'
import { serveWeb } from '../../scripts/web/server.ts'
import type { Database } from '../../core/database/database.ts'
import type { Store } from '../../store/store.ts'

async function serve(api: object): Promise<string> {
  const server = await serveWeb(api as Api, 0)
  onTestFinished(() => server.close())
  return server.url
}

test('a query whose client has gone is stopped', async () => {
  let signalled: AbortSignal | undefined
  const url = await serve({
    diff: async (_: Parameters, signal: AbortSignal) => {
      signalled = signal
      await sleep(60_000, undefined, { signal })
    },
  })
  const sent = request(`${url}api/diff?a=1&b=2`).on('error', () => undefined)
  sent.end()
  await expect.poll(() => signalled).toBeDefined()
  expect(signalled?.aborted).toBe(false)
  sent.destroy()
  await expect.poll(() => signalled?.aborted).toBe(true)
})

test('at most 8 queries run at once, and those of clients that have gone are not begun', async () => {
  const gate = Promise.withResolvers<object>()
  let running = 0
  let begun = 0
  const url = await serve({
    usage: () => {
      begun++
      running++
      return gate.promise.finally(() => running--)
    },
  })
  const answers = Array.from({ length: 20 }, () => fetch(`${url}api/usage`).then(answer => answer.status))
  const gone = request(`${url}api/usage`).on('error', () => undefined)
  gone.end()
  await expect.poll(() => running).toBe(8)
  await sleep(100)
  gone.destroy()
  await sleep(50)
  expect(running).toBe(8)
  gate.resolve({})
  expect(await Promise.all(answers)).toEqual(Array.from({ length: 20 }, () => 200))
  expect(begun).toBe(20)
})

test('searches end with their signal', async () => {
  async function* endless(): AsyncGenerator<object> {
    for (;;) {
      await sleep(1)
      yield { dirent: true, name: 'a' }
    }
  }
  let passed: AbortSignal | undefined
  const db = {
    log: ({ signal }: { readonly signal: AbortSignal }) => {
      passed = signal
      return []
    },
    diff: async function* (_: string, __: string, { progress }: { readonly progress: () => void }) {
      for await (const item of endless()) {
        progress()
        if (item instanceof Api) yield item
      }
    },
  } as unknown as Database
  const api = new Api({} as Store, db)
  const stopped = new AbortController()
  const found = api.diff(
    new Map([
      ['a', '1'],
      ['b', '2'],
    ]),
    stopped.signal,
  )
  await sleep(20)
  stopped.abort()
  await expect(found).rejects.toThrow('aborted')
  await api.log(new Map(), stopped.signal)
  expect(passed).toBe(stopped.signal)
})
