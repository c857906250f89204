/** The control socket, from both sides: a daemon with arbitrary answers, and clients with arbitrary requests. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { pino } from 'pino'
import { callDaemon, type CallName } from '../../mount/daemon/control-protocol.ts'
import { ControlServer, type CallHandlers } from '../../mount/daemon/control-server.ts'
import { CodedError } from '../../store/errors.ts'
import type { Random } from '../stress/random.ts'
import type { Fuzzer } from './kinds.ts'
import { mutate, pick } from './mutate.ts'

const CALLS: readonly CallName[] = [
  'status',
  'stats',
  'remount',
  'sync',
  'pack',
  'packStatus',
  'tag',
  'undo',
  'restore',
  'restoreAs',
  'clone',
  'unmount',
]
const ANSWER_TIMEOUT_MS = 500
/** Generous: other processes may occupy the processor. */
const SERVED_TIMEOUT_MS = 120_000
const STATUS = {
  result: {
    version: '0.1.0',
    pid: 1,
    database: '/db',
    directory: '/mnt',
    driver: 'kernel',
    readOnly: false,
    tid: '0000000000000001',
    dirtyBytes: 0,
    commits: 1,
    since: '2026-01-01T00:00:00Z',
    state: 'running',
    history: 'all',
  },
}
const VALUES: readonly unknown[] = [
  null,
  -1,
  1e308,
  '',
  '..path',
  '\u001b[2J',
  'x'.repeat(5000),
  [],
  {},
  true,
  [[[[]]]],
  { result: {} },
]

export async function controlFuzzer(directory: string): Promise<Fuzzer> {
  const asked = join(directory, '0:1.asked.sock')
  const fake = join(directory, '0:1.fake.sock')
  const server = await ControlServer.listen(asked, anyHandlers(), pino({ level: 'silent' }))
  let random: Random | undefined
  const daemon = createServer(socket => random && answer(socket, random))
  await new Promise<void>(resolve => daemon.listen(fake, resolve))
  return {
    async round(chosen) {
      random = chosen
      await ask(fake, pick(chosen, CALLS))
      await send(asked, chosen)
      // Whatever was sent, the next client is served.
      const { pid } = await callDaemon([asked], 'unmount', { lazy: false }, SERVED_TIMEOUT_MS)
      if (pid !== 1) throw new Error(`a wrong answer: ${pid}`)
    },
    async close() {
      await server.close()
      await closed(daemon)
    },
  }
}

function anyHandlers(): CallHandlers {
  const handler = (): Promise<unknown> =>
    Promise.resolve({ tid: '0000000000000001', pid: 1, state: 'none', history: 'all' })
  const calls = [...CALLS, 'packCancel', 'untag', 'history', 'storeUnnamed']
  const handlers: unknown = Object.fromEntries(calls.map(call => [call, handler]))
  return handlers as CallHandlers
}

async function ask(path: string, call: CallName): Promise<void> {
  try {
    // The parameters do not matter to a daemon that reads none.
    const result: unknown = await callDaemon([path], call, {}, ANSWER_TIMEOUT_MS)
    // oxlint-disable-next-line no-control-regex
    if (/[\u0000-\u001f\u007f]/.test(JSON.stringify(result).replaceAll(/\\[nrtu]/g, '')))
      throw new Error(`control characters: ${JSON.stringify(result)}`)
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
  }
}

function answer(socket: Socket, random: Random): void {
  socket.on('error', () => {})
  socket.once('data', () => {
    const how = random.below(6)
    if (how === 0) socket.end(mutate(Buffer.from(`${JSON.stringify(STATUS)}\n`), random))
    else if (how === 1) socket.end(`${JSON.stringify(changed(STATUS, random))}\n`)
    else if (how === 2) socket.end(`${'['.repeat(200_000)}\n`)
    else if (how === 3) endless(socket)
    else if (how === 4) socket.destroy()
    else if (random.below(5) > 0)
      socket.end(
        `${JSON.stringify({ error: changed({ name: 'X', message: 'm', code: 'failed' }, random) })}\n`,
      )
    // Else silence.
  })
}

/** More than the length of any answer. */
function endless(socket: Socket): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write('x'.repeat(1 << 16)));
  }
  socket.on('drain', more)
  more()
}

/** A value with parts replaced. */
function changed(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null) return random.below(4) === 0 ? pick(random, VALUES) : value
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, part]) =>
      random.below(8) === 0 ? [] : [[key, changed(part, random)]],
    ),
  )
}

async function send(path: string, random: Random): Promise<void> {
  const socket = connect(path)
  socket.on('error', () => {})
  await once(socket, 'connect')
  const ended = Promise.race([once(socket, 'data'), once(socket, 'close')]).catch(() => undefined)
  const request = {
    call: pick(random, [...CALLS, 'transaction', '__proto__', 'constructor']),
    parameters: { lazy: true, message: 'm' },
    device: '0:1',
  }
  const text = `${JSON.stringify(changed(request, random))}\n`
  socket.write(random.below(2) === 0 ? text : mutate(Buffer.from(text), random))
  if (random.below(10) === 0) endless(socket)
  await Promise.race([ended, new Promise(resolve => setTimeout(resolve, 20))])
  socket.destroy()
}

const closed = (server: Server): Promise<void> => new Promise(resolve => server.close(() => resolve()))
