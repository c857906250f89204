import { chmod, lchown, mkdir, mkdtemp, rm, stat, symlink } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { controlPaths, makeControlPath } from '../../../mount/daemon/control-path.ts'
import { callDaemon, CallFailedError } from '../../../mount/daemon/control-protocol.ts'
import { NoAnswerError } from '../../../mount/daemon/no-answer.ts'
import { CodedError, LockedError } from '../../../store/errors.ts'
import { type CallHandlers, ControlServer } from '../../../mount/daemon/control-server.ts'

/** A tid that tells a message. */
const tidOf = (message: string): string => Buffer.from(message).toString('hex').padEnd(16, '0').slice(0, 16)

const log = pino({ level: 'silent' })
const handlers: CallHandlers = {
  status: () => Promise.reject(new Error('no status today')),
  stats: () => Promise.reject(new Error('no figures today')),
  sync: async ({ message = 'none' }) => ({ tid: tidOf(message) }),
  reach: () => Promise.resolve({ tid: '', isReached: true }),
  unstored: () => Promise.resolve({ paths: [], isEnd: true }),
  rejoin: () => Promise.resolve({ tid: '' }),
  pack: () => Promise.resolve({}),
  packStatus: () => Promise.resolve({ state: 'none' }),
  packCancel: () => Promise.resolve({}),
  remount: () => Promise.resolve({ readOnly: false }),
  history: () => Promise.resolve({ history: 'all' }),
  tag: () => Promise.resolve({ tid: '' }),
  untag: () => Promise.resolve({}),
  undo: () => Promise.resolve({ tid: '' }),
  restore: () => Promise.resolve({ tid: '' }),
  restoreAs: () => Promise.resolve({ tid: '' }),
  clone: () => Promise.resolve({ tid: '' }),
  storeUnnamed: () => Promise.resolve({ pid: 1 }),
  unmount: () => new Promise(() => {}),
}

let directory: string
let path: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'zblkfs-control-'))
  path = join(directory, 'x.sock')
})
afterEach(async () => {
  await rm(directory, { recursive: true })
})

async function withServer(body: () => Promise<void>, served = handlers): Promise<void> {
  const server = await ControlServer.listen(path, served, log)
  try {
    await body()
  } finally {
    await server.close()
  }
}

async function reasonOf(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(NoAnswerError)
  return (error as NoAnswerError).reason
}

/** Sends raw bytes; resolves to what comes back. */
function send(text: string): Promise<string> {
  return new Promise(resolve => {
    let received = ''
    connect(path)
      .setEncoding('utf8')
      .on('data', (data: string) => (received += data))
      .on('error', () => {})
      .on('close', () => resolve(received))
      .end(text)
  })
}

test('a call receives its arguments and returns a result', async () => {
  await withServer(async () => {
    expect(await callDaemon([path], 'sync', { message: 'a "\nline' }, 5000)).toEqual({
      tid: tidOf('a "\nline'),
    })
    expect(await callDaemon([path], 'sync', {}, 5000)).toEqual({ tid: tidOf('none') })
  })
})

test('an error keeps its class, code and data on the way from the daemon', async () => {
  const failing: CallHandlers = {
    ...handlers,
    status: () => Promise.reject(new LockedError('/db', 'process 7')),
    sync: () => Promise.reject(new CodedError('no such moment', { code: 'no-moment' })),
  }
  await withServer(async () => {
    const locked: unknown = await callDaemon([path], 'status', {}, 5000).catch((error: unknown) => error)
    expect(locked).toBeInstanceOf(LockedError)
    expect(locked).toMatchObject({ code: 'locked', kind: 'retry', holder: 'process 7', path: '/db' })
    await expect(callDaemon([path], 'sync', {}, 5000)).rejects.toMatchObject({ code: 'no-moment' })
  }, failing)
})

test('a failed call returns its message', async () => {
  await withServer(async () => {
    const call = callDaemon([path], 'status', {}, 5000)
    await expect(call).rejects.toThrow(CallFailedError)
    await expect(call).rejects.toThrow('no status today')
  })
})

test('the socket is accessible to its owner only', async () => {
  await withServer(async () => {
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })
})

test('a daemon that does not reply is reported as silent', async () => {
  await withServer(async () => {
    expect(await reasonOf(callDaemon([path], 'unmount', { lazy: false }, 100))).toBe('silent')
  })
})

test('a socket without a listener means that the daemon is gone', async () => {
  expect(await reasonOf(callDaemon([path], 'status', {}, 1000))).toBe('gone')
  expect(await reasonOf(callDaemon([], 'status', {}, 1000))).toBe('gone')
  await withServer(async () => {})
  expect(await reasonOf(callDaemon([path], 'status', {}, 1000))).toBe('gone')
})

test('a daemon that dies during a call is reported as gone', async () => {
  const server = createServer(socket => socket.once('data', () => socket.destroy()))
  await new Promise<void>(resolve => server.listen(path, resolve))
  expect(await reasonOf(callDaemon([path], 'status', {}, 5000))).toBe('gone')
  server.close()
})

test('close waits for replies in progress', async () => {
  const called = Promise.withResolvers<void>()
  const answered = Promise.withResolvers<{ readonly tid: string }>()
  const sync = (): Promise<{ readonly tid: string }> => {
    called.resolve()
    return answered.promise
  }
  const server = await ControlServer.listen(path, { ...handlers, sync }, log)
  const call = callDaemon([path], 'sync', {}, 5000)
  await called.promise
  answered.resolve({ tid: tidOf('last') })
  await server.close()
  expect(await call).toEqual({ tid: tidOf('last') })
})

test('the socket of a dead daemon is replaced', async () => {
  await withServer(async () => {
    await withServer(async () => {
      expect(await callDaemon([path], 'sync', {}, 5000)).toEqual({ tid: tidOf('none') })
    })
  })
})

test.each(['{"call":"format"}', '{"call":"constructor"}', 'no json', '[]', 'null', '{"call":1}'])(
  'the line %s causes an error reply',
  async line => {
    await withServer(async () => {
      expect(JSON.parse(await send(`${line}\n`))).toHaveProperty('error')
    })
  },
)

test('a line without end closes the connection', async () => {
  await withServer(async () => {
    expect(await send('x'.repeat(3 << 20))).toBe('')
  })
})

test('paths are tried in order until one replies', async () => {
  await withServer(async () => {
    const other = join(directory, 'other')
    await mkdir(other)
    await chmod(other, 0o700)
    const paths = [join(other, 'x.sock'), path]
    expect(await callDaemon(paths, 'sync', {}, 5000)).toEqual({ tid: tidOf('none') })
  })
})

const WRONG_ANSWERS = [
  'no json',
  'null',
  '[]',
  '{}',
  '{"result":null}',
  '{"result":{}}',
  '{"result":{"tid":7}}',
  '{"result":{"tid":"../../etc/passwd"}}',
  '{"error":"text"}',
  '{"error":{"message":{},"details":{}}}',
  '{"error":{"message":"x","details":{"path":[]}}}',
]

/** Answers every request with `text`, as another user's daemon might. */
async function withAnswer(text: string, body: () => Promise<void>): Promise<void> {
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(text))
  })
  await new Promise<void>(resolve => server.listen(path, resolve))
  try {
    await body()
  } finally {
    server.close()
  }
}

test.each(WRONG_ANSWERS)('the answer %s is refused with one sentence', async answer => {
  await withAnswer(`${answer}\n`, async () => {
    const call = callDaemon([path], 'sync', {}, 5000)
    await expect(call).rejects.toThrow(CallFailedError)
    await expect(call).rejects.toThrow(/does not answer like a zblkfs daemon/)
  })
})

test('a pid that is a path is refused', async () => {
  await withAnswer('{"result":{"tid":"0000000000000001","pid":"../x"}}\n', async () => {
    await expect(callDaemon([path], 'unmount', { lazy: false }, 5000)).rejects.toThrow(CallFailedError)
  })
})

test.each(['null', '"fenced"', '{}', '{"state":"lost"}', '{"state":"fenced","reason":{}}'])(
  'a status whose connection is %s is refused',
  async connection => {
    const status = `{"pid":1,"database":"d","directory":"d","driver":"kernel","readOnly":false,"since":"2026-01-01","tid":"0000000000000001","residentBytes":1,"unstoredBytes":0,"isFull":false`
    await withAnswer(`{"result":${status}}}\n`, async () => {
      await expect(callDaemon([path], 'status', {}, 5000)).resolves.toMatchObject({ pid: 1 })
    })
    await withAnswer(`{"result":${status},"connection":${connection}}}\n`, async () => {
      await expect(callDaemon([path], 'status', {}, 5000)).rejects.toThrow(CallFailedError)
    })
  },
)

test('a reply without end closes the connection', async () => {
  await withAnswer('x'.repeat(8 << 20), async () => {
    expect(await reasonOf(callDaemon([path], 'sync', {}, 5000))).toBe('gone')
  })
})

test('control characters of a reply do not reach the terminal', async () => {
  await withAnswer('{"error":{"message":"\\u001b[2Jforged\\u0007","details":{}}}\n', async () => {
    await expect(callDaemon([path], 'sync', {}, 5000)).rejects.toThrow('\u{fffd}[2Jforged\u{fffd}')
  })
})

test('a request for another mount is refused', async () => {
  path = join(directory, '0:50.1.sock')
  await withServer(async () => {
    expect(await callDaemon([path], 'sync', {}, 5000)).toEqual({ tid: tidOf('none') })
    const link = join(directory, '0:51.1.sock')
    await symlink(path, link)
    await expect(callDaemon([link], 'sync', {}, 5000)).rejects.toMatchObject({ code: 'not-mounted' })
  })
})

test.runIf(process.getuid?.() === 0)("a socket of another user's daemon is not trusted", async () => {
  await withServer(async () => {
    const link = join(directory, 'link.sock')
    await symlink(path, link)
    await lchown(link, 65_534, 65_534)
    expect(await reasonOf(callDaemon([link], 'sync', {}, 5000))).toBe('forbidden')
  })
})

test('a link in the directory of sockets is not used, and named', async () => {
  const device = '4095:1048575'
  const uid = process.getuid?.() ?? 0
  const socket = await makeControlPath(device)
  const reason = async (): Promise<unknown> =>
    await controlPaths(device, uid).catch((error: unknown) => error)
  expect(await reason()).toMatchObject({
    code: 'daemon-unreachable',
    message: expect.stringMatching(
      /^its daemon cannot be called: no socket is in \/run\/.* or \/tmp\/zblkfs-/,
    ),
  })
  await symlink(path, socket)
  try {
    await withServer(async () => {
      expect(await reason()).toMatchObject({
        code: 'daemon-unreachable',
        message: `its daemon cannot be called: ${socket} is a symbolic link`,
      })
    })
  } finally {
    await rm(socket)
  }
})
