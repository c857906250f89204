/** Requests and answers, laid out by hand from linux/fuse.h. */
import { constants } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ErrnoError } from '../../../../core/file-system/errno.ts'
import type { LockOperations } from '../../../../core/file-system/operations.ts'
import { MemoryOperations } from '../../../tools/memory-operations.ts'
import { FakeKernel, names, u32, u64 } from './fake-kernel.ts'

const concat = (parts: readonly Uint8Array[]): Buffer => Buffer.concat(parts)
let operations: MemoryOperations
let kernel: FakeKernel
beforeEach(() => {
  operations = new MemoryOperations()
  kernel = new FakeKernel(operations)
})
afterEach(async () => {
  await kernel.close()
})

/** The fields of a fuse_attr. */
const attributes = (body: Buffer, at: number) => ({
  ino: Number(body.readBigUInt64LE(at)),
  size: body.readBigUInt64LE(at + 8),
  atime: body.readBigInt64LE(at + 24),
  mtime: body.readBigInt64LE(at + 32),
  atimensec: body.readUInt32LE(at + 48),
  mtimensec: body.readUInt32LE(at + 52),
  mode: body.readUInt32LE(at + 60),
  nlink: body.readUInt32LE(at + 64),
  uid: body.readUInt32LE(at + 68),
  gid: body.readUInt32LE(at + 72),
  rdev: body.readUInt32LE(at + 76),
})

/** fuse_create_in and a name; returns the inode and the handle. */
async function create(name: string): Promise<{ readonly ino: number; readonly fh: number }> {
  const { body, error } = await kernel.call(35, 1, concat([u32(0o102, 0o100644, 0o22, 0), names(name)]))
  expect(error).toBe(0)
  expect(body.length).toBe(128 + 16)
  return { ino: Number(body.readBigUInt64LE(0)), fh: Number(body.readBigUInt64LE(128)) }
}

describe('INIT', () => {
  test('agrees on the smaller minor version, on 1 MiB and on the flags that both have', async () => {
    const { body, error } = await kernel.init(45)
    expect(error).toBe(0)
    expect(body.length).toBe(64)
    expect([body.readUInt32LE(0), body.readUInt32LE(4)]).toEqual([7, 45])
    expect(body.readUInt32LE(20)).toBe(1 << 20)
    expect(body.readUInt16LE(28)).toBe(256)
    const flags = body.readUInt32LE(12)
    const [ASYNC_READ, POSIX_LOCKS, BIG_WRITES, DONT_MASK, WRITEBACK, MAX_PAGES] = [0, 1, 5, 6, 16, 22]
    const set = [ASYNC_READ, POSIX_LOCKS, BIG_WRITES, DONT_MASK, WRITEBACK, MAX_PAGES].map(
      bit => (flags >>> bit) & 1,
    )
    expect(set).toEqual([1, 0, 1, 0, 0, 1])
    await expect(kernel.session.started).resolves.toMatchObject({ minor: 45 })
  })

  test('accepts no flag that the kernel does not offer', async () => {
    const { body } = await kernel.init(31, 1 << 22)
    expect([body.readUInt32LE(4), body.readUInt32LE(12), body.readUInt32LE(32)]).toEqual([31, 1 << 22, 0])
  })

  test('replies to a newer major version with its own and waits for a second INIT', async () => {
    expect((await kernel.init(1, 0, 8)).body.readUInt32LE(0)).toBe(7)
    expect((await kernel.init(45)).error).toBe(0)
  })

  test('refuses a kernel before 7.31 with its version', async () => {
    const started = expect(kernel.session.started).rejects.toThrow(/the kernel speaks FUSE 7.23/)
    expect((await kernel.init(23)).error).toBe(-71)
    await started
  })
})

describe('requests', () => {
  beforeEach(async () => {
    await kernel.init()
  })

  test('MKDIR, LOOKUP and GETATTR', async () => {
    const made = await kernel.call(9, 1, concat([u32(0o750, 0o22), names('dir')]))
    expect(made.body.length).toBe(128)
    const found = await kernel.call(1, 1, names('dir'))
    expect(found.body.readBigUInt64LE(0)).toBe(2n)
    expect(found.body.readBigUInt64LE(16)).toBe(31_536_000n) // entry_valid
    const entry = attributes(found.body, 40)
    expect(entry).toMatchObject({ ino: 2, mode: 0o40750, nlink: 2, uid: 65534, gid: 65534 })
    const { body } = await kernel.call(3, 2, concat([u32(0, 0), u64(0)]))
    expect(body.length).toBe(104)
    expect(attributes(body, 16)).toEqual(entry)
    expect((await kernel.call(1, 1, names('none'))).error).toBe(-2)
  })

  test('SETATTR with times before 1970, and STATX', async () => {
    const { ino } = await create('f')
    const valid = (1 << 0) | (1 << 3) | (1 << 4) | (1 << 5)
    const { body } = await kernel.call(
      4,
      ino,
      concat([
        u32(valid, 0),
        u64(0, 1n << 40n, 0, 2n ** 64n - 1n, 5, 0),
        u32(999_999_999, 7, 0, 0o100600, 0, 0, 0, 0),
      ]),
    )
    expect(attributes(body, 16)).toMatchObject({
      size: 1n << 40n,
      mode: 0o100600,
      atime: -1n,
      atimensec: 999_999_999,
      mtime: 5n,
      mtimensec: 7,
    })
    const statx = (await kernel.call(52, ino, concat([u32(0, 0), u64(0), u32(0, 0xfff)]))).body
    expect(statx.length).toBe(288)
    const at = 32
    expect(statx.readUInt32LE(at)).toBe(0xfff)
    expect(statx.readUInt16LE(at + 28)).toBe(0o100600)
    expect(statx.readBigUInt64LE(at + 40)).toBe(1n << 40n)
    expect([statx.readBigInt64LE(at + 64), statx.readUInt32LE(at + 72)]).toEqual([-1n, 999_999_999])
    expect(Math.abs(Number(statx.readBigInt64LE(at + 80)) - Date.now() / 1000)).toBeLessThan(60)
  })

  test('WRITE, READ, LSEEK and COPY_FILE_RANGE in both widths', async () => {
    const { ino, fh } = await create('f')
    const write = (off: bigint, data: string) =>
      kernel.call(16, ino, concat([u64(fh, off), u32(data.length, 0), u64(0), u32(0, 0), Buffer.from(data)]))
    expect((await write(2n ** 40n, 'hello')).body).toEqual(u32(5, 0))
    const readAt = (off: bigint, size: number) =>
      kernel.call(15, ino, concat([u64(fh, off), u32(size, 0), u64(0), u32(0, 0)]))
    expect(String((await readAt(2n ** 40n + 1n, 100)).body)).toBe('ello')
    expect((await readAt(2n ** 41n, 100)).body.length).toBe(0)
    const seek = await kernel.call(46, ino, concat([u64(fh, 2n ** 40n), u32(3, 0)]))
    expect(seek.body).toEqual(u64(2n ** 40n))
    const copy = (opcode: number) => kernel.call(opcode, ino, u64(fh, 2n ** 40n, ino, fh, 0, 1n << 40n, 0))
    expect((await copy(53)).body).toEqual(u64(5))
    expect((await copy(47)).body).toEqual(u32(5, 0))
    expect(String((await readAt(0n, 5)).body)).toBe('hello')
  })

  test('READDIR pads to 8 bytes, READDIRPLUS takes a reference for each entry but . and ..', async () => {
    const { ino } = await create('a-name')
    const fh = Number((await kernel.call(27, 1, u32(0, 0))).body.readBigUInt64LE(0))
    const list = (opcode: number, off: number, size: number) =>
      kernel.call(opcode, 1, concat([u64(fh, off), u32(size, 0), u64(0), u32(0, 0)]))
    const { body } = await list(28, 0, 4096)
    expect(body.length).toBe(32 * 3)
    expect(body.readUInt32LE(64 + 16)).toBe(6)
    expect(body.readUInt32LE(64 + 20)).toBe(8)
    expect(body.toString('latin1', 64 + 24, 96)).toBe('a-name\0\0')
    expect((await list(28, 0, 64)).body.length).toBe(64)
    const plus = (await list(44, 0, 4096)).body
    expect(plus.length).toBe(160 * 3)
    expect([0, 160, 320].map(at => Number(plus.readBigUInt64LE(at)))).toEqual([0, 0, ino])
    expect((await list(28, Number(body.readBigUInt64LE(64 + 8)), 4096)).body.length).toBe(0)
  })

  test('a process that has used no inode of a listing gets those of directories only, until it looks a file up', async () => {
    await create('a-name')
    await kernel.call(9, 1, concat([u32(0o755, 0), names('directory')]))
    const fh = Number((await kernel.call(27, 1, u32(0, 0))).body.readBigUInt64LE(0))
    const list = async (opcode: number, off: number): Promise<Buffer> =>
      (await kernel.call(opcode, 1, concat([u64(fh, off), u32(4096, 0), u64(0), u32(0, 0)]))).body
    const listed = async (): Promise<Record<string, boolean>> => {
      const body = await list(44, 0)
      const found: Record<string, boolean> = {}
      for (let at = 0; at < body.length;) {
        const length = body.readUInt32LE(at + 128 + 16)
        const name = body.toString('latin1', at + 152, at + 152 + length)
        if (!name.startsWith('.')) found[name] = body.readBigUInt64LE(at) !== 0n
        at += 152 + ((length + 7) & ~7)
      }
      return found
    }
    const all = { 'a-name': true, directory: true }
    expect(await listed()).toEqual(all)
    await list(28, 3)
    expect(await listed(), 'after a request for the rest without inodes').toEqual({ ...all, 'a-name': false })
    await kernel.call(1, 1, names('directory'))
    expect(await listed(), 'after a lookup of a directory').toEqual({ ...all, 'a-name': false })
    await list(44, 3)
    expect(await listed(), 'after a request for the rest with inodes').toEqual(all)
    await list(28, 3)
    await kernel.call(1, 1, names('a-name'))
    expect(await listed(), 'after a lookup of a file').toEqual(all)
    await list(28, 3)
    expect(await listed(), 'from then on').toEqual(all)
  })

  test('names arrive byte for byte', async () => {
    const name = '\u00ff\u0001 \u00e9'
    await kernel.call(8, 1, concat([u32(0o10644, 0, 0, 0), names(name)]))
    expect(operations.find(1 as never, name)).toBe(2)
    const moved = await kernel.call(45, 1, concat([u64(1), u32(1, 0), names(name, 'b')]))
    expect(moved.error).toBe(0)
    expect((await kernel.call(45, 1, concat([u64(1), u32(8, 0), names('b', 'c')]))).error).toBe(-22)
    expect((await kernel.call(12, 1, concat([u64(1), names('b', 'c')]))).error).toBe(0)
  })

  test('extended attributes report their length, and ERANGE if the buffer is too small', async () => {
    await kernel.call(21, 1, concat([u32(3, 0, 0, 0), names('user.k'), Buffer.from('val')]))
    const get = (size: number) => kernel.call(22, 1, concat([u32(size, 0), names('user.k')]))
    expect((await get(0)).body).toEqual(u32(3, 0))
    expect((await get(2)).error).toBe(-34)
    expect(String((await get(3)).body)).toBe('val')
    expect(String((await kernel.call(23, 1, u32(100, 0))).body)).toBe('user.k\0')
  })

  test('SYMLINK takes the name before the target', async () => {
    const { body } = await kernel.call(6, 1, names('link', 'to/where'))
    expect(String((await kernel.call(5, Number(body.readBigUInt64LE(0)))).body)).toBe('to/where')
  })

  test('FORGET and BATCH_FORGET have no reply and release references', async () => {
    const { ino } = await create('f')
    await kernel.call(10, 1, names('f'))
    await kernel.call(18, ino, concat([u64(1), u32(0, 0), u64(0)]))
    expect(operations.inodes).toBe(2)
    kernel.send(42, 0, concat([u32(1, 0), u64(ino, 1)]))
    await kernel.call(17, 1)
    expect(operations.inodes).toBe(1)
  })

  test('a failed operation replies with its errno, never ENOSYS', async () => {
    operations.fsync = async () => {
      throw new ErrnoError('ENOSYS')
    }
    expect((await kernel.call(20, 1, concat([u64(1), u32(0, 0)]))).error).toBe(-95)
    operations.fsync = async () => {
      throw new TypeError('a bug')
    }
    expect((await kernel.call(20, 1, concat([u64(1), u32(0, 0)]))).error).toBe(-5)
    expect(kernel.logged.join('')).toContain('a bug')
  })

  test('unsupported requests are ENOSYS, FLUSH included; ioctl is ENOTTY', async () => {
    for (const opcode of [25, 34, 37, 40, 999]) expect((await kernel.call(opcode, 1)).error).toBe(-38)
    expect((await kernel.call(39, 1)).error).toBe(-25)
  })

  test('the reply to a direct write follows the invalidation of its pages', async () => {
    const { ino, fh } = await create('f')
    const write = (flags: number, writeFlags = 0) =>
      kernel.send(
        16,
        ino,
        concat([u64(fh, 4096), u32(4, writeFlags), u64(0), u32(flags, 0), Buffer.from('data')]),
      )
    const direct = write(constants.O_DIRECT)
    expect(await kernel.receive()).toEqual({ error: 2, unique: 0, body: u64(ino, 4096, 4) })
    expect(await kernel.receive()).toMatchObject({ error: 0, unique: direct })
    for (const unique of [write(0), write(constants.O_DIRECT, 1)])
      expect(await kernel.receive()).toMatchObject({ error: 0, unique })
  })

  test('writes in excess of the buffers wait', async () => {
    const { ino, fh } = await create('f')
    const gate = Promise.withResolvers<void>()
    const seen: string[] = []
    operations.write = async (_ino, _fh, _off, data) => {
      await gate.promise
      seen.push(String(data))
      return data.length
    }
    const sent = Array.from({ length: 100 }, (_, index) => {
      const data = `write ${index}`
      kernel.send(16, ino, concat([u64(fh, 0), u32(data.length, 0), u64(0), u32(0, 0), Buffer.from(data)]))
      return data
    })
    await new Promise(resolve => setTimeout(resolve, 50))
    gate.resolve()
    for (let left = sent.length; left > 0; left--) expect((await kernel.receive()).error).toBe(0)
    expect(seen.toSorted()).toEqual(sent.toSorted())
  })
})

test('a RELEASE that fails releases its flock lock nevertheless', async () => {
  const unlocked: unknown[] = []
  const unused = (): Promise<undefined> => Promise.resolve(undefined)
  const locks: LockOperations = {
    test: unused,
    unlock: unused,
    unlockAll: async (...call) => void unlocked.push(call),
    lock: unused,
  }
  await kernel.init()
  const failing = Object.assign(new MemoryOperations(), {
    locks,
    release: async () => await Promise.reject(new ErrnoError('EIO')),
  })
  const locking = new FakeKernel(failing)
  await locking.init()
  // fuse_release_in: the handle, flags, FUSE_RELEASE_FLOCK_UNLOCK, the owner of the lock.
  const body = concat([u64(7), u32(0, 2), u64(99)])
  expect((await locking.call(18, 1, body)).error).toBe(-5)
  expect(unlocked).toEqual([[1, { kind: 'flock', id: 99n }]])
  await locking.close()
})

test('the end of a mount ends waiting for a lock', async () => {
  let hasEnded = false
  const waiting = Promise.withResolvers<void>()
  const unused = (): never => {
    throw new Error('not used')
  }
  const locks: LockOperations = {
    test: unused,
    unlock: unused,
    unlockAll: unused,
    lock: (_ino, _owner, _lock, signal) =>
      new Promise((_, reject) => {
        signal?.addEventListener('abort', () => {
          hasEnded = true
          reject(new ErrnoError('EINTR'))
        })
        waiting.resolve()
      }),
  }
  await kernel.init()
  const locking = new FakeKernel(Object.assign(new MemoryOperations(), { locks }))
  await locking.init()
  // fuse_lk_in: SETLKW of a write lock of the whole file.
  locking.send(33, 1, concat([u64(0, 5, 0, 2n ** 63n - 1n), u32(1, 42, 0, 0)]))
  await waiting.promise
  await locking.close()
  expect(hasEnded).toBe(true)
})
