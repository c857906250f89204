/** A database in a program's own process: transactions, history, streams, and concurrent changes by other processes. */
import { randomBytes } from 'node:crypto'
import { getEventListeners } from 'node:events'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CodedError, open, type Change, type Database, type OpenOptions } from '../../../index.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

async function fresh(options: OpenOptions = {}): Promise<Database> {
  const db = await open(temporaryDatabase(), { create: true, ...options })
  onTestFinished(() => db.close().catch(() => undefined))
  return db
}

async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

async function allocatedBytes(directory: string): Promise<number> {
  let sum = 0
  for (const name of await readdir(directory)) sum += (await stat(join(directory, name))).blocks * 512
  return sum
}

const codeOf = (error: unknown): string => (error as { readonly code?: string }).code ?? String(error)
const failure = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'none', codeOf)

describe('a transaction', () => {
  test('is stored as one, with its message', async () => {
    const db = await fresh()
    const before = await db.sync()
    const result = await db.transaction(
      async tx => {
        await tx.writeFile('/a', 'one')
        await tx.mkdir('/d')
        await tx.rename('/a', '/d/a')
        return 7
      },
      { message: 'three steps' },
    )
    expect(result).toBe(7)
    const [last] = await collected(db.log({ limit: 1 }))
    expect(last).toMatchObject({
      message: 'three steps',
      changes: [{ kind: 'added', path: 'd/a', sizeAfter: expect.any(BigInt) }],
    })
    expect(await collected(db.log({ since: before }))).toHaveLength(1)
  })

  test('leaves nothing behind when its function throws', async () => {
    const db = await fresh()
    await db.files.writeFile('/kept', 'before')
    const failed = db.transaction(async tx => {
      await tx.writeFile('/kept', 'after')
      await tx.writeFile('/new', 'x')
      throw new Error('changed my mind')
    })
    await expect(failed).rejects.toThrow('changed my mind')
    expect(await db.files.readFile('/kept', 'utf8')).toBe('before')
    expect(await db.files.readdir('/')).toEqual(['kept'])
  })

  test('is isolated: other operations wait', async () => {
    const db = await fresh()
    const order: string[] = []
    const transaction = db.transaction(async tx => {
      await tx.writeFile('/a', 'inside')
      await new Promise(resolve => setTimeout(resolve, 20))
      order.push('end')
    })
    const outside = db.files.readFile('/a', 'utf8').then(text => order.push(text))
    await Promise.all([transaction, outside])
    expect(order).toEqual(['end', 'inside'])
  })

  test('refuses calls from its own function that bypass it: they would deadlock', async () => {
    const db = await fresh()
    expect(await failure(db.transaction(() => db.files.readdir('/')))).toBe('transaction-open')
    expect(await failure(db.transaction(() => db.transaction(() => Promise.resolve())))).toBe(
      'transaction-open',
    )
    expect(await failure(db.files.readdir('/'))).toBe('none')
  })

  test('invalidates its files when it ends', async () => {
    const db = await fresh()
    const tx = await db.transaction(files => Promise.resolve(files))
    expect(await failure(tx.writeFile('/late', 'x'))).toBe('no-transaction')
    expect(await db.files.exists('/late')).toBe(false)
  })

  test('ends when its signal aborts', async () => {
    const db = await fresh()
    const controller = new AbortController()
    const work = db.transaction(
      async tx => {
        await tx.writeFile('/a', 'x')
        controller.abort()
      },
      { signal: controller.signal },
    )
    await expect(work).rejects.toThrow('aborted')
    expect(await db.files.exists('/a')).toBe(false)
  })
})

describe('the past', () => {
  test('is read-only and does not change', async () => {
    const db = await fresh()
    await db.files.writeFile('/a', 'old')
    const tid = await db.sync('first')
    await db.files.writeFile('/a', 'new!')
    await db.sync()
    const past = db.at(tid)
    expect(await past.readFile('/a', 'utf8')).toBe('old')
    expect((await past.stat('a')).size).toBe(3)
    expect(await failure(past.writeFile('/a', 'x'))).toBe('EROFS')
    expect(await past.readdir('/..')).toEqual(['a'])
    expect(await failure(db.at('no such tag').readdir('/'))).toBe('no-moment')
  })

  test('supports tags, restore, clone and undo', async () => {
    const db = await fresh()
    await db.files.writeFile('/a', 'one')
    await db.sync()
    await db.tag('v1')
    expect(await failure(db.tag('v1', { at: 'now' }))).toBe('tag-exists')
    await db.files.writeFile('/a', 'two')
    const second = await db.sync()
    expect((await collected(db.tags())).map(({ name }) => name)).toEqual(['v1'])
    await db.clone('/a', '/copy', { at: 'v1' })
    expect(await db.files.readFile('/copy', 'utf8')).toBe('one')
    await db.undo(second)
    expect(await db.files.readFile('/a', 'utf8')).toBe('one')
    await db.restore('/a', second)
    expect(await db.files.readFile('/a', 'utf8')).toBe('two')
    expect(await failure(db.restore('/a', 'v1', { to: '/copy' }))).toBe('path-exists')
    await db.untag('v1')
    expect(await failure(db.untag('v1'))).toBe('no-tag')
    await db.tag('v2', { hold: true })
    expect(await failure(db.untag('v2'))).toBe('tag-held')
    // Nor is it deleted by an undo of its transaction.
    const held = (await collected(db.log())).find(({ message }) => message === 'hold tag v2')
    expect(await failure(db.undo(held?.tid ?? ''))).toBe('tag-held')
    expect(await failure(db.untag('v2'))).toBe('tag-held')
    expect((await collected(db.tags())).map(({ name, held }) => [name, held])).toEqual([['v2', true]])
    await db.tag('v2', { hold: false })
    await db.untag('v2')
    expect(await failure(db.undo('nonsense'))).toBe('bad-moment')
  })

  test('differs by ranges of bytes', async () => {
    const db = await fresh()
    await db.files.writeFile('/a', Buffer.alloc(20_000, 1))
    const before = await db.sync()
    const file = await db.files.open('/a', 'r+')
    await file.write(Buffer.from('x'), 0, 1, 9000)
    await file.close()
    await db.sync()
    const [change] = await collected(db.diff(before, 'now'))
    expect(change).toMatchObject({ kind: 'changed', path: 'a', ranges: [{ start: 8192n, end: 12_288n }] })
  })
})

describe('a feed', () => {
  test('delivers every transaction once: existing ones, then new ones', async () => {
    const db = await fresh()
    await db.files.writeFile('/a', 'x')
    const since = await db.sync()
    const controller = new AbortController()
    const expected = Array.from({ length: 20 }, (_, i) => `f${i}`)
    const writing = (async () => {
      for (const name of expected) {
        await db.files.writeFile(name, name)
        await db.sync(name)
      }
    })()
    const found: string[] = []
    for await (const { message, changes } of db.watch({ since, signal: controller.signal })) {
      const list: Change[] = await collected(changes())
      expect(list.map(({ kind, path }) => `${kind} ${path}`)).toEqual([`added ${message}`])
      found.push(message)
      expect(getEventListeners(controller.signal, 'abort').length).toBeLessThan(2)
      if (found.length === expected.length) controller.abort()
    }
    await writing
    expect(found).toEqual(expected)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test('includes the first transaction of a filesystem', async () => {
    const db = await fresh()
    await db.files.mkdir('/d')
    await db.files.writeFile('/d/a', 'x')
    await db.sync()
    const path = db.name
    await db.close()
    const again = await open(path, { readOnly: true })
    onTestFinished(() => again.close())
    const found: string[] = []
    const controller = new AbortController()
    const last = await again.resolve('now')
    for await (const { tid, changes } of again.watch({
      since: '0000000000000000',
      signal: controller.signal,
    })) {
      for await (const { path } of changes()) found.push(path)
      if (tid === last) controller.abort()
    }
    expect(found.sort()).toEqual(['d', 'd/a'])
  })

  test('follows a writer in another process through a read-only database', async () => {
    const db = await fresh()
    const reader = await open(db.name, { readOnly: true })
    onTestFinished(() => reader.close())
    const controller = new AbortController()
    const first = (async () => {
      for await (const { message } of reader.watch({ signal: controller.signal })) return message
      return undefined
    })()
    await db.files.writeFile('/a', 'x')
    await db.sync('seen')
    expect(await first).toBe('seen')
  })
})

describe('files', () => {
  test('are read and written as streams', async () => {
    const db = await fresh()
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251))
    await db.files.writeFile('/a', bytes)
    await pipeline(db.files.createReadStream('/a'), db.files.createWriteStream('/b'))
    expect((await db.files.readFile('/b')).equals(bytes)).toBe(true)
    const part = await collected(db.files.createReadStream('/a', { start: 100, end: 199 }))
    expect(Buffer.concat(part as Buffer[]).equals(bytes.subarray(100, 200))).toBe(true)
    await expect(
      pipeline(db.files.createReadStream('/none'), db.files.createWriteStream('/c')),
    ).rejects.toThrow('ENOENT')
  })

  test('are replaced in one step, and keep their permissions', async () => {
    const db = await fresh()
    await db.files.writeFile('/old', 'before', { mode: 0o4750 })
    await db.files.chown('/old', 5, 6)
    await db.files.chmod('/old', 0o4750)
    await db.files.link('/old', '/other')
    const open = await db.files.open('/old')
    const seen: string[] = []
    const data = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.from('after')
      seen.push(await db.files.readFile('/old', 'utf8'), ...(await db.files.readdir('/')).toSorted())
      yield Buffer.from('wards')
    }
    await db.files.replaceFile('/old', data())
    expect(seen).toEqual(['before', 'old', 'other'])
    expect(await db.files.readFile('/old', 'utf8')).toBe('afterwards')
    const { mode, uid, gid, nlink } = await db.files.stat('/old')
    const owner = process.getuid?.() === 0 ? [5, 6] : [process.getuid?.(), process.getgid?.()]
    expect([mode & 0o7777, uid, gid, nlink]).toEqual([0o750, ...owner, 1])
    // The replaced file keeps its other name and its handles.
    expect(await open.readFile({ encoding: 'utf8' })).toBe('before')
    await open.close()
    expect((await db.files.stat('/other')).nlink).toBe(1)
    await db.files.replaceFile('/new', 'made')
    await db.files.symlink('new', '/link')
    await db.files.replaceFile('/link', 'not behind it')
    expect(await db.files.readFile('/new', 'utf8')).toBe('made')
    expect((await db.files.lstat('/link')).isSymbolicLink()).toBe(false)
  })

  test('stay as they are if a replacement fails, and nothing else stays', async () => {
    const db = await fresh()
    await db.files.writeFile('/a', 'before')
    await db.files.mkdir('/d')
    const broken = async function* (): AsyncGenerator<Buffer> {
      yield randomBytes(1 << 20)
      await db.sync()
      throw Object.assign(new Error('the client is gone'), { code: 'ECONNRESET' })
    }
    expect(await failure(db.files.replaceFile('/a', broken()))).toBe('ECONNRESET')
    const removed = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.from('x')
      await db.files.rmdir('/d')
    }
    expect(await failure(db.files.replaceFile('/d/new', removed()))).toBe('ENOENT')
    expect(await failure(db.files.replaceFile('/', 'x'))).toBe('EISDIR')
    expect(await failure(db.files.replaceFile('/a/', 'x'))).toBe('ENOTDIR')
    expect(await failure(db.files.replaceFile('/none/', 'x'))).toBe('ENOENT')
    expect(await failure(db.files.replaceFile('/none/x', 'x'))).toBe('ENOENT')
    expect(await db.files.readFile('/a', 'utf8')).toBe('before')
    expect(await db.files.readdir('/')).toEqual(['a'])
  })

  test('have holes', async () => {
    const db = await fresh()
    const file = await db.files.open('/a', 'w+')
    await file.truncate(1 << 30)
    await file.write(Buffer.from('data'), 0, 4, 500 << 20)
    expect(await file.seek(0, 'data')).toBe(BigInt(500 << 20))
    await file.punchHole(500 << 20, 4096)
    expect(await file.seek(0, 'data')).toBeUndefined()
    await file.close()
    expect(await failure(file.stat())).toBe('EBADF')
  })

  test('copy without copying bytes', async () => {
    const db = await fresh()
    const bytes = randomBytes(8 << 20)
    await db.files.writeFile('/a', bytes)
    await db.sync()
    const before = await allocatedBytes(`${db.name}-log`)
    await db.files.copyFile('/a', '/b')
    await db.sync()
    expect((await db.files.readFile('/b')).equals(bytes)).toBe(true)
    expect((await allocatedBytes(`${db.name}-log`)) - before).toBeLessThan(1 << 20)
  })

  test('accept any bytes in names', async () => {
    const db = await fresh()
    const odd = Buffer.from([0x66, 0xff, 0x0a])
    await db.files.writeFile(odd, 'x')
    const [entry] = await collected(db.files.opendir('/'))
    expect(Buffer.from(entry!.nameBytes).equals(odd)).toBe(true)
    expect(await db.files.readFile(odd, 'utf8')).toBe('x')
    expect(await db.files.readFile(entry!.name, 'utf8')).toBe('x')
    const [name] = await db.files.readdir('/')
    await db.sync()
    await db.clone(name!, 'copy')
    expect(await db.files.readFile('copy', 'utf8')).toBe('x')
  })

  test('keep the order of concurrent appends', async () => {
    const db = await fresh()
    const file = await db.files.open('/log', 'a')
    await Promise.all(Array.from({ length: 50 }, (_, i) => file.write(Buffer.from(`${i}\n`))))
    await file.close()
    const lines = (await db.files.readFile('/log', 'utf8')).trim().split('\n')
    expect(lines).toEqual(Array.from({ length: 50 }, (_, i) => String(i)))
  })

  test('lose no append of two that have a file open', async () => {
    const db = await fresh()
    const [one, two] = [await db.files.open('/log', 'a'), await db.files.open('/log', 'a')]
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? one : two).write(Buffer.from(`${i + 10}\n`))),
    )
    await one.close()
    await two.close()
    const lines = (await db.files.readFile('/log', 'utf8')).trim().split('\n')
    expect(lines.sort()).toEqual(Array.from({ length: 50 }, (_, i) => String(i + 10)))
  })
})

describe('opening', () => {
  test('reports the cause of a failure', async () => {
    const missing = open(temporaryDatabase())
    await expect(missing).rejects.toThrow(CodedError)
    expect(await failure(open(temporaryDatabase()))).toBe('no-database')
    const db = await fresh()
    expect(await failure(open(db.name))).toBe('locked')
  })

  test('preserves changes made without a sync', async () => {
    const db = await fresh()
    await db.files.writeFile('/a', 'x')
    await db.close()
    const again = await open(db.name)
    onTestFinished(() => again.close())
    expect(await again.files.readFile('/a', 'utf8')).toBe('x')
  })
})
