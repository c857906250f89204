import { duplexPair } from 'node:stream'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { serveTransaction } from '../../../mount/daemon/transaction-session.ts'
import { tid } from '../../../store/ids.ts'

/** What the client receives, and the calls made for it. */
async function served(line: string, commit = () => Promise.resolve(tid(7n))): Promise<[string, string[]]> {
  const [client, socket] = duplexPair({ encoding: 'utf8' })
  const calls: string[] = []
  const note = (call: string): Promise<void> => Promise.resolve(void calls.push(call))
  const handler = {
    begin: () => note('begin'),
    commit: async () => {
      await note('commit')
      return await commit()
    },
    rollBack: () => note('rollBack'),
  }
  const answered = text(client)
  client.end(line)
  await serveTransaction(socket as unknown as Socket, handler, pino({ level: 'silent' }))
  return [await answered, calls]
}

test('a transaction that is not committed is rolled back', async () => {
  expect((await served(''))[1]).toEqual(['begin', 'rollBack'])
  expect((await served('{"rollBack":{}}\n'))[1]).toEqual(['begin', 'rollBack'])
  const [answer, calls] = await served('{no\n')
  expect(answer).toContain('error')
  expect(calls).toEqual(['begin', 'rollBack'])
})

test('after a commit that fails nothing is rolled back: it may be the transaction of another client', async () => {
  const [answer, calls] = await served('{"commit":{}}\n', () => Promise.reject(new Error('full')))
  expect(answer).toContain('error')
  expect(calls).toEqual(['begin', 'commit'])
})
