/** Clients that send more than they may, or do not read, cost an NBD or 9P server a bounded amount and keep it from nothing. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Files } from '../../../core/database/files.ts'
import type { Operations } from '../../../core/file-system/operations.ts'
import { startNinePServer } from '../../../scripts/serve/9p/server.ts'
import { startNbdServer } from '../../../scripts/serve/nbd/server.ts'
import type { RunningServer } from '../../../scripts/serve/server.ts'

const log = pino({ enabled: false })
let scratch: string
let path: string
let server: RunningServer | undefined
let client: Socket | undefined
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'zblkfs-hostile-'))
  path = join(scratch, 'socket')
})
afterEach(async () => {
  client?.destroy()
  await server?.close()
  await rm(scratch, { recursive: true, force: true })
})

async function connected(): Promise<Socket> {
  client = connect(path)
  client.on('error', () => undefined)
  await once(client, 'connect')
  return client
}

/** A file of 32 MiB. */
const filesWith = (operations: object): Files =>
  ({
    open: () =>
      Promise.resolve({
        stat: () => Promise.resolve({ sizeExact: 32n << 20n }),
        close: () => Promise.resolve(),
        ...operations,
      }),
  }) as unknown as Files

async function startNbd(operations: object): Promise<void> {
  const files = filesWith(operations)
  const place = { kind: 'socket', path } as const
  server = await startNbdServer({ files, paths: ['/disk'], readOnly: false, place, log })
}

/** Flags, and the option EXPORT_NAME for the default export. */
function nbdHandshake(): Buffer {
  const bytes = Buffer.alloc(20)
  bytes.writeUInt32BE(3, 0)
  bytes.write('IHAVEOPT', 4, 'latin1')
  bytes.writeUInt32BE(1, 12)
  return bytes
}

function nbdRequest(type: number, length: number): Buffer {
  const bytes = Buffer.alloc(28)
  bytes.writeUInt32BE(0x2560_9513, 0)
  bytes.writeUInt16BE(type, 6)
  bytes.writeUInt32BE(length, 24)
  return bytes
}

test('NBD requests without data run in a bounded number', async () => {
  const gate = Promise.withResolvers<void>()
  let started = 0
  await startNbd({
    datasync: () => {
      started++
      return gate.promise
    },
  })
  const socket = await connected()
  socket.resume()
  const flush = nbdRequest(3, 0)
  socket.write(Buffer.concat([nbdHandshake(), ...Array.from({ length: 2000 }, () => flush)]))
  await expect.poll(() => started).toBe(256)
  await sleep(50)
  expect(started).toBe(256)
  gate.resolve()
  await expect.poll(() => started).toBe(2000)
})

test('an NBD client that does not read what it asked for keeps the server from nothing', async () => {
  let reads = 0
  await startNbd({
    read: (_: Buffer, __: number, bytesRead: number) => {
      reads++
      return Promise.resolve({ bytesRead })
    },
  })
  const socket = await connected()
  socket.pause()
  const read = nbdRequest(0, 8 << 20)
  socket.write(Buffer.concat([nbdHandshake(), ...Array.from({ length: 100 }, () => read)]))
  await expect.poll(() => reads).toBeGreaterThan(0)
  await sleep(50)
  expect(reads).toBeLessThan(20)
  await server?.close()
})

function ninePMessage(type: number, tag: number, ...fields: readonly Buffer[]): Buffer {
  const body = Buffer.concat(fields)
  const header = Buffer.alloc(7)
  header.writeUInt32LE(7 + body.length, 0)
  header.writeUInt8(type, 4)
  header.writeUInt16LE(tag, 5)
  return Buffer.concat([header, body])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

const text = (value: string): Buffer => Buffer.concat([Buffer.of(value.length, 0), Buffer.from(value)])
const version = (bytes: number): Buffer => ninePMessage(100, 0xffff, u32(bytes), text('9P2000.L'))
const attach = ninePMessage(104, 1, u32(1), u32(0xffff_ffff), text(''), text(''), u32(0))

async function startNineP(operations: object): Promise<void> {
  const place = { kind: 'socket', path } as const
  const options = { operations: operations as Operations, base: [], readOnly: false, place, log }
  server = await startNinePServer(options)
}

test('a second 9P request with the tag of one that runs ends the connection', async () => {
  const gate = Promise.withResolvers<never>()
  let started = 0
  await startNineP({
    getattr: () => {
      started++
      return gate.promise
    },
    forget: () => undefined,
  })
  const socket = await connected()
  socket.resume()
  socket.write(Buffer.concat([version(8192), attach]))
  await sleep(50)
  const request = ninePMessage(24, 7, u32(1), Buffer.alloc(8))
  const closed = once(socket, 'close')
  socket.write(Buffer.concat([request, request, request]))
  await expect.poll(() => started).toBe(1)
  gate.reject(new Error('the end'))
  await closed
  expect(started).toBe(1)
})

test('a 9P client cannot make messages too short for an answer', async () => {
  await startNineP({ forget: () => undefined })
  const socket = await connected()
  socket.write(version(0))
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.readUInt8(4)).toBe(7)
})
