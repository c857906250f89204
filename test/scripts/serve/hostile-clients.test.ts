/** Clients that send more than they may, or do not read, cost a server a bounded amount and keep it from nothing. */
import { once } from 'node:events'
import { constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Files } from '../../../core/database/files.ts'
import { ino as toIno, ROOT_INO, type Operations, fh as toFh } from '../../../core/file-system/operations.ts'
import { Fids } from '../../../scripts/serve/9p/fids.ts'
import { LockType, RangeLocks } from '../../../scripts/serve/9p/locks.ts'
import { startNinePServer } from '../../../scripts/serve/9p/server.ts'
import { startNbdServer } from '../../../scripts/serve/nbd/server.ts'
import type { RunningServer } from '../../../scripts/serve/server.ts'
import { Locks } from '../../../scripts/serve/webdav/locks.ts'
import { startWebdavServer } from '../../../scripts/serve/webdav/server.ts'
import { memoryPaths } from '../../tools/temporary-database.ts'

const { O_WRONLY, O_APPEND } = constants
const DIRECTORY = {
  ino: 1,
  mtimeNs: 0n,
  sizeExact: 0n,
  mtime: new Date(0),
  birthtime: new Date(0),
  isDirectory: () => true,
  isFile: () => false,
}
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

const walk = (tag: number, from: number, to: number): Buffer =>
  ninePMessage(110, tag, u32(from), u32(to), Buffer.of(0, 0))
const lopen = (tag: number, fid: number): Buffer => ninePMessage(12, tag, u32(fid), u32(0))

/** The types of `count` answers, by tag. */
async function answersOf(socket: Socket, count: number): Promise<ReadonlyMap<number, number>> {
  const found = new Map<number, number>()
  let bytes = Buffer.alloc(0)
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk])
    while (bytes.length >= 7 && bytes.length >= bytes.readUInt32LE(0)) {
      found.set(bytes.readUInt16LE(5), bytes.readUInt8(4))
      bytes = bytes.subarray(bytes.readUInt32LE(0))
    }
    if (found.size >= count) break
  }
  return found
}

test('a 9P fid that is opened twice at once, or removed meanwhile, leaves no handle', async () => {
  const gate = Promise.withResolvers<void>()
  const handles = { opened: 0, released: 0 }
  await startNineP({
    getattr: () => Promise.resolve({ mode: 0o100644, ino: 1 }),
    open: async () => {
      await gate.promise
      return { fh: handles.opened++ }
    },
    release: () => {
      handles.released++
      return Promise.resolve()
    },
    forget: () => undefined,
  })
  const socket = await connected()
  const clunk = ninePMessage(120, 14, u32(2))
  socket.write(Buffer.concat([version(8192), attach]))
  socket.write(Buffer.concat([walk(10, 1, 2), lopen(11, 1), lopen(12, 1), lopen(13, 2), clunk]))
  await sleep(50)
  gate.resolve()
  const answers = await answersOf(socket, 7)
  expect([11, 12, 13, 14].map(tag => answers.get(tag))).toEqual([13, 7, 7, 121])
  expect(handles).toEqual({ opened: 2, released: 1 })
  client?.destroy()
  await expect.poll(() => handles.released).toBe(2)
})

test('9P appends go to the end of the file, whatever offset the client sends', async () => {
  const paths = await memoryPaths()
  await paths.write('log', 'begun ')
  await startNineP(paths.fs.besideKernel)
  const socket = await connected()
  const name = (value: string): Buffer => Buffer.concat([Buffer.of(1, 0), text(value)])
  const walkTo = (tag: number, to: number): Buffer => ninePMessage(110, tag, u32(1), u32(to), name('log'))
  const open = (tag: number, fid: number): Buffer => ninePMessage(12, tag, u32(fid), u32(O_WRONLY | O_APPEND))
  const append = (tag: number, fid: number, value: string): Buffer =>
    ninePMessage(118, tag, u32(fid), u32(6), u32(0), u32(value.length), Buffer.from(value))
  const types: number[] = []
  socket.on('data', bytes => {
    for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at)) types.push(bytes.readUInt8(at + 4))
  })
  // Each needs the answer before it.
  const messages = [version(8192), attach, walkTo(10, 2), open(11, 2), walkTo(12, 3), open(13, 3)]
  for (const [index, message] of messages.entries()) {
    socket.write(message)
    await expect.poll(() => types.length).toBe(index + 1)
  }
  socket.write(Buffer.concat([append(14, 2, 'one '), append(15, 3, 'two '), append(16, 2, 'three')]))
  await expect.poll(() => types.length).toBe(9)
  expect(types).toEqual([101, 105, 111, 13, 111, 13, 119, 119, 119])
  expect((await paths.read('log')).toString()).toBe('begun one two three')
})

test('the fids and attributes of all 9P connections are bounded', async () => {
  const handles = { released: 0 }
  const operations = {
    forget: () => undefined,
    release: () => {
      handles.released++
      return Promise.resolve()
    },
  } as unknown as Operations
  const usage = { fids: 0, attributeBytes: 0 }
  const [one, two] = [new Fids(operations, usage), new Fids(operations, usage)]
  const fid = { ino: ROOT_INO, rootIno: ROOT_INO, uid: 0 }
  for (let number = 0; number < 1 << 16; number++) {
    await one.put(number, { ...fid })
    await two.put(number, { ...fid })
  }
  const more = { ...fid, handle: { kind: 'file' as const, fh: toFh(1), appends: false } }
  await expect(one.put(1 << 16, more)).rejects.toMatchObject({ code: 'ENFILE' })
  expect(handles.released).toBe(1)
  const value = Buffer.alloc(64 << 10)
  for (let number = 0; number < 128; number++) one.setAttribute(number, { kind: 'read', value })
  const write = { kind: 'write', name: 'user.a', flags: 0, value } as const
  expect(() => two.setAttribute(0, write)).toThrow('too many attributes')
  one.setAttribute(0, write)
  await one.clunkAll()
  two.setAttribute(0, write)
  await two.clunkAll()
  expect(usage).toEqual({ fids: 0, attributeBytes: 0 })
})

test('two 9P requests that assign a number at once leave one fid', async () => {
  const gate = Promise.withResolvers<void>()
  const handles = { released: 0 }
  const operations = {
    forget: () => undefined,
    release: async () => {
      await gate.promise
      handles.released++
    },
  } as unknown as Operations
  const usage = { fids: 0, attributeBytes: 0 }
  const fids = new Fids(operations, usage)
  const opened = (fh: number) => ({
    ino: ROOT_INO,
    rootIno: ROOT_INO,
    uid: 0,
    handle: { kind: 'file' as const, fh: toFh(fh), appends: false },
  })
  await fids.put(1, opened(1))
  const both = [fids.put(1, opened(2)), fids.put(1, opened(3))]
  gate.resolve()
  await Promise.all(both)
  await fids.clunkAll()
  expect(usage.fids).toBe(0)
  expect(handles.released).toBe(3)
})

test('the locks of 9P clients are bounded, and can be released then', () => {
  const locks = new RangeLocks()
  const holder = {}
  const lock = (at: number, type: number, client = 'guest') => ({
    type,
    start: BigInt(2 * at),
    length: 1n,
    process: 1,
    client,
    holder,
  })
  expect(() => locks.set(ROOT_INO, lock(0, LockType.WRITE, 'c'.repeat(300)))).toThrow('EINVAL')
  for (let at = 0; at < 1024; at++) expect(locks.set(ROOT_INO, lock(at, LockType.WRITE))).toBe(true)
  expect(() => locks.set(ROOT_INO, lock(1024, LockType.WRITE))).toThrow('too many locks')
  expect(locks.set(ROOT_INO, lock(3, LockType.WRITE))).toBe(true)
  expect(locks.set(ROOT_INO, lock(3, LockType.UNLOCK))).toBe(true)
  for (let file = 2; file < 17; file++)
    for (let at = 0; at < 1024; at++) locks.set(toIno(file), lock(at, LockType.WRITE))
  locks.set(toIno(17), lock(1, LockType.WRITE))
  expect(() => locks.set(toIno(17), lock(2, LockType.WRITE))).toThrow('too many locks')
  locks.release(holder)
  expect(locks.set(toIno(17), lock(2, LockType.WRITE))).toBe(true)
})

test('the locks of WebDAV clients are bounded', () => {
  const locks = new Locks()
  for (let file = 0; file < 1024; file++)
    expect(locks.take(`/${file}`, 'o'.repeat(60_000), 600)).toMatchObject({ owner: 'o'.repeat(256) })
  expect(locks.take('/0', 'owner', 600)).toBe('taken')
  expect(locks.take('/more', 'owner', 600)).toBe('too many')
  locks.forget('/7')
  expect(locks.take('/more', 'owner', 600)).toMatchObject({ href: '/more' })
})

test('a list of a large directory over WebDAV is read no faster than its client reads it', async () => {
  let read = 0
  const files = {
    stat: () => Promise.resolve(DIRECTORY),
    opendir: async function* () {
      for (; read < 200_000; read++) {
        const name = `a rather long name of a file ${read}`
        yield { name, nameBytes: Buffer.from(name), isDirectory: () => false }
      }
    },
  } as unknown as Files
  const place = { kind: 'socket', path } as const
  server = await startWebdavServer({ files, readOnly: false, place, log })
  const request = Buffer.from(
    'PROPFIND / HTTP/1.1\r\nHost: localhost\r\nDepth: 1\r\nContent-Length: 0\r\n\r\n',
  )
  const socket = await connected()
  socket.pause()
  socket.write(request)
  await expect.poll(() => read).toBeGreaterThan(100)
  await sleep(300)
  expect(read).toBeLessThan(20_000)
  socket.destroy()
  const stopped = read
  await sleep(100)
  expect(read).toBeLessThan(stopped + 1000)
})

test('a 9P client cannot make messages too short for an answer', async () => {
  await startNineP({ forget: () => undefined })
  const socket = await connected()
  socket.write(version(0))
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.readUInt8(4)).toBe(7)
})
