/** The layout of WCFS and its isolation protocol, with a client written from the protocol's description. Longer than 400 lines: the client is used here only. */
/* oxlint-disable max-lines -- see above */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, constants, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import {
  name as toName,
  ROOT_INO,
  type Fh,
  type Ino,
  type Notifier,
} from '../../../core/file-system/operations.ts'
import type { ZodbFileSystemOptions } from '../../../core/foreign/file-system/zodb-file-system.ts'
import { runProgram, runZblkfs } from '../../tools/run-zblkfs.ts'
import { DATABASES, type ManifestFile } from '../../zodb/manifest.ts'
import { fileStoragePaths, temporaryDirectory, type ForeignPaths } from './foreign-paths.ts'

const tiny = DATABASES[0]!
const { files, txns } = tiny.manifest()
const LAST = txns.length - 1

const FILE_B = '0000000000000002'
const ZEROS_SHA256 = (length: number): string =>
  createHash('sha256').update(Buffer.alloc(length)).digest('hex')

/** Of each block up to the end of file B in one of its states. */
const blocksOf = (state: ManifestFile): readonly string[] => {
  const { blksize } = files['B']!
  const sums = new Map(state.blocks.map(({ blk, sha256 }) => [blk, sha256]))
  return Array.from({ length: state.size / blksize }, (_, blk) => sums.get(blk) ?? ZEROS_SHA256(blksize))
}
const stateOf = (txn: number): readonly string[] => blocksOf(txns[txn]!.files['B']!)
const atOf = (txn: number): string => txns[txn]!.tid

/** tiny.fs up to one of its transactions, to which later ones are appended. */
class GrowingFile {
  readonly path = join(temporaryDirectory(), 'Data.fs')
  readonly #bytes = readFileSync(tiny.path)
  readonly #ends: number[] = []

  constructor(last: number) {
    for (let pos = 4; pos < this.#bytes.length;) {
      pos += Number(this.#bytes.readBigUInt64BE(pos + 8)) + 8
      this.#ends.push(pos)
    }
    writeFileSync(this.path, this.#bytes.subarray(0, this.#endOf(last)))
  }

  append(txn: number): void {
    appendFileSync(this.path, this.#bytes.subarray(this.#endOf(txn - 1), this.#endOf(txn)))
  }

  #endOf(txn: number): number {
    return this.#ends[this.#ends.length - txns.length + txn]!
  }
}

class NoNotifier implements Notifier {
  invalidateInode(): void {}
  invalidateEntry(): void {}
  invalidateNames(): void {}
  async invalidateAttributes(): Promise<void> {}
  async settled(): Promise<void> {}
}

/** A client of the protocol. It reads the blocks that are pinned from their transactions. */
class Client {
  readonly #paths: ForeignPaths
  readonly #ino: Ino
  readonly #fh: Fh
  readonly #answers = new Map<number, (answer: string) => void>()
  #number = -1
  readonly pins = new Map<number, string>()
  readonly frames: string[] = []
  isMute = false
  readonly ended: Promise<void>

  private constructor(paths: ForeignPaths, ino: Ino, fh: Fh) {
    this.#paths = paths
    this.#ino = ino
    this.#fh = fh
    this.ended = this.#receive()
  }

  static async open(paths: ForeignPaths, pid = 0): Promise<Client> {
    return await paths.at('head/watch', async ino => {
      const { fh, pages } = await paths.zodb.open(ino, constants.O_RDWR, { uid: 0, gid: 0, pid })
      expect(pages).toBe('stream')
      return new Client(paths, ino, fh)
    })
  }

  async send(frame: string): Promise<void> {
    await this.#paths.zodb.write(this.#ino, this.#fh, 0n, Buffer.from(frame))
  }

  async ask(message: string): Promise<string> {
    const number = (this.#number += 2)
    const answer = new Promise<string>(resolve => this.#answers.set(number, resolve))
    await this.send(`${number} ${message}\n`)
    return await answer
  }

  watch(at: string): Promise<string> {
    return this.ask(`watch ${FILE_B} ${at}`)
  }

  /** The checksums of the file's first blocks, as the client sees them. */
  async read(count: number): Promise<readonly string[]> {
    const { blksize } = files['B']!
    const sums: string[] = []
    for (let blk = 0; blk < count; blk++) {
      const whole = async (): Promise<Buffer> => {
        const rev = this.pins.get(blk)
        const file = await this.#paths.open(`${rev ?? 'head'}/bigfile/${FILE_B}`, constants.O_RDONLY)
        const bytes = await this.#paths.readAt(file, BigInt(blk * blksize), blksize)
        await this.#paths.close(file)
        // Pinned meanwhile: what was mapped is replaced.
        return this.pins.get(blk) === rev ? bytes : await whole()
      }
      const bytes = await whole()
      sums.push(
        createHash('sha256')
          .update(Buffer.concat([bytes, Buffer.alloc(blksize - bytes.length)]))
          .digest('hex'),
      )
    }
    return sums
  }

  async close(): Promise<void> {
    await this.#paths.zodb.release(this.#ino, this.#fh)
    await this.ended
  }

  async #receive(): Promise<void> {
    let text = ''
    for (;;) {
      const bytes = await this.#paths.readAt({ ino: this.#ino, fh: this.#fh }, 0n, 4096)
      if (bytes.length === 0) return
      text += bytes.toString()
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) await this.#take(line)
    }
  }

  async #take(frame: string): Promise<void> {
    this.frames.push(frame)
    const [, digits, message = ''] = /^(\d+) (.*)$/.exec(frame) ?? []
    const number = Number(digits)
    if (number % 2 === 1) return this.#answers.get(number)?.(message)
    const [, file, blk, rev = ''] = /^pin ([0-9a-f]{16}) #(\d+) (@\S+)$/.exec(message) ?? []
    if (file === undefined || this.isMute) return
    expect(file).toBe(FILE_B)
    if (rev === '@head') this.pins.delete(Number(blk))
    else this.pins.set(Number(blk), rev)
    await this.send(`${number} ack\n`)
  }
}

const WCFS: ZodbFileSystemOptions = { layout: 'wcfs', followIntervalMs: 1 << 30, pinTimeoutMs: 20_000 }

async function wcfsPaths(path: string, options: ZodbFileSystemOptions = {}): Promise<ForeignPaths> {
  const paths = await fileStoragePaths(path, { ...WCFS, ...options })
  paths.zodb.attach(new NoNotifier())
  return paths
}

describe('the layout of WCFS', () => {
  test('head, moments and the control directory', async () => {
    const { path } = new GrowingFile(LAST)
    const paths = await wcfsPaths(path)
    expect(await paths.list('')).toEqual(['.wcfs', 'head'])
    expect(await paths.list('.wcfs')).toEqual(['pintimeout', 'zurl'])
    expect((await paths.read('.wcfs/zurl')).toString()).toBe(pathToFileURL(path).href)
    expect((await paths.read('.wcfs/pintimeout')).toString()).toBe('20.0')
    expect(await paths.list('head')).toEqual(['at', 'bigfile', 'watch'])
    expect((await paths.read('head/at')).toString()).toBe(atOf(LAST))
    expect(await paths.list(`@${atOf(1)}`)).toEqual(['at', 'bigfile'])
    expect((await paths.read(`@${atOf(1)}/at`)).toString()).toBe(atOf(1))
    expect((await paths.read(`@${atOf(1)}/bigfile/${FILE_B}`)).length).toBe(txns[1]!.files['B']!.size)
    await expect(paths.open(`head/bigfile/${FILE_B}`, constants.O_RDWR)).rejects.toThrow('EROFS')
    await expect(paths.read(`head/bigfile/0000000000000006`)).rejects.toThrow('ENOENT')
    await expect(paths.read('head/bigfile')).rejects.toThrow('EISDIR')
  })

  test('a driver without invalidation cannot watch', async () => {
    const paths = await fileStoragePaths(tiny.path, WCFS)
    await expect(Client.open(paths)).rejects.toThrow('head/watch needs the kernel driver')
  })
})

describe('clients of the isolation protocol', () => {
  test.each([1, 2, 4, 5, LAST])(
    'a watch at transaction %i reads its state, whatever the head',
    async first => {
      const { path } = new GrowingFile(LAST)
      const paths = await wcfsPaths(path)
      const client = await Client.open(paths)
      expect(await client.watch(`@${atOf(first)}`)).toBe('ok')
      expect(await client.read(stateOf(first).length)).toEqual(stateOf(first))
      // Only what differs is pinned.
      const [then, now] = [stateOf(first), stateOf(LAST)]
      const same = now.flatMap((sum, blk) => (sum === then[blk] ? [blk] : []))
      const rewritten = same.filter(blk => client.pins.has(blk))
      expect(rewritten.length).toBeLessThan(Math.max(1, same.length))
      await client.close()
    },
  )

  test('a watch keeps its state while transactions arrive, and moves when the client says so', async () => {
    const database = new GrowingFile(1)
    const paths = await wcfsPaths(database.path)
    const [old, moving] = [await Client.open(paths), await Client.open(paths)]
    for (const client of [old, moving]) expect(await client.watch(`@${atOf(1)}`)).toBe('ok')
    for (let txn = 2; txn <= LAST; txn++) {
      database.append(txn)
      expect((await paths.read('head/at')).toString()).toBe(atOf(txn))
      // A process reads the head: every client reads its own state before that.
      await paths.read(`head/bigfile/${FILE_B}`)
      expect(await moving.read(stateOf(txn - 1).length)).toEqual(stateOf(txn - 1))
      expect(await moving.watch(`@${atOf(txn)}`)).toBe('ok')
      expect([...moving.pins]).toEqual([])
      expect(await moving.read(stateOf(txn).length)).toEqual(stateOf(txn))
      expect(await old.read(stateOf(1).length)).toEqual(stateOf(1))
    }
    expect(old.pins.size).toBeGreaterThan(0)
    expect(await old.watch('-')).toBe('ok')
    await Promise.all([old.close(), moving.close()])
  })

  test('a watch moves to a moment before the head: pins follow it, or end', async () => {
    const { path } = new GrowingFile(LAST)
    const paths = await wcfsPaths(path)
    const client = await Client.open(paths)
    for (let txn = 1; txn <= LAST; txn++) {
      expect(await client.watch(`@${atOf(txn)}`)).toBe('ok')
      expect(await client.read(stateOf(txn).length), `at ${txn}`).toEqual(stateOf(txn))
    }
    expect(client.pins.size).toBe(0)
    await client.close()
  })

  test('a watch of a later transaction than the head waits for it', async () => {
    const database = new GrowingFile(LAST - 1)
    const paths = await wcfsPaths(database.path)
    const client = await Client.open(paths)
    const answer = client.watch(`@${atOf(LAST)}`)
    await new Promise(resolve => setTimeout(resolve, 100))
    expect(client.frames).toEqual([])
    database.append(LAST)
    expect(await answer).toBe('ok')
    expect(await client.read(stateOf(LAST).length)).toEqual(stateOf(LAST))
    await client.close()
  })

  test('a read of a changed block waits until every client has acknowledged the pin', async () => {
    const database = new GrowingFile(LAST - 1)
    const paths = await wcfsPaths(database.path)
    const client = await Client.open(paths)
    expect(await client.watch(`@${atOf(LAST - 1)}`)).toBe('ok')
    database.append(LAST)
    await paths.read('head/at')
    client.isMute = true
    let isRead = false
    const reading = paths.read(`head/bigfile/${FILE_B}`).then(() => (isRead = true))
    await expect.poll(() => client.frames.filter(frame => frame.includes('pin')).length).toBeGreaterThan(0)
    expect(isRead).toBe(false)
    for (const frame of client.frames) {
      const number = Number(frame.split(' ')[0])
      if (number % 2 === 0) await client.send(`${number} ack\n`)
    }
    await reading
    await client.close()
  })

  test('errors are answered, and change nothing', async () => {
    const paths = await wcfsPaths(tiny.path)
    const client = await Client.open(paths)
    expect(await client.ask(`watch 00000000000000ff @${atOf(3)}`)).toMatch(
      RegExp(`^error setup watch f<00000000000000ff> @${atOf(3)}: .*00000000000000ff`),
    )
    expect(await client.ask(`watch ${FILE_B} @yesterday`)).toMatch(/^error bad watch: not a watch request: "/)
    expect(await client.ask('hello')).toBe('error bad watch: not a watch request: "hello"')
    expect(await client.watch(`@${atOf(3)}`)).toBe('ok')
    expect(await client.watch(`@${atOf(2)}`)).toMatch(
      RegExp(`^error setup watch f<${FILE_B}> @${atOf(2)}: going back in history is forbidden`),
    )
    expect(await client.read(stateOf(3).length)).toEqual(stateOf(3))
    expect(await client.watch('-')).toBe('ok')
    await client.send('99 bye\n')
    await client.ended
    await client.close()
  })

  /** A process that a client is said to be, and its end. */
  const victim = (): { readonly pid: number; readonly ended: Promise<unknown[]> } => {
    const child = spawn('sleep', ['300'])
    onTestFinished(() => void child.kill('SIGKILL'))
    return { pid: child.pid ?? 0, ended: once(child, 'exit') }
  }

  test('a client that does not acknowledge a pin in time is killed; then the read is served', async () => {
    const database = new GrowingFile(LAST - 1)
    const paths = await wcfsPaths(database.path, { pinTimeoutMs: 200 })
    const { pid, ended } = victim()
    const client = await Client.open(paths, pid)
    expect(await client.watch(`@${atOf(LAST - 1)}`)).toBe('ok')
    client.isMute = true
    database.append(LAST)
    await paths.read('head/at')
    await paths.read(`head/bigfile/${FILE_B}`)
    expect((await ended)[1]).toBe('SIGBUS')
    await client.ended
    await client.close()
  })

  test('a client that answers a pin with anything but an ack is killed', async () => {
    const database = new GrowingFile(LAST - 1)
    const paths = await wcfsPaths(database.path)
    const { pid, ended } = victim()
    const client = await Client.open(paths, pid)
    expect(await client.watch(`@${atOf(LAST - 1)}`)).toBe('ok')
    client.isMute = true
    database.append(LAST)
    await paths.read('head/at')
    const reading = paths.read(`head/bigfile/${FILE_B}`)
    await expect.poll(() => client.frames.length).toBeGreaterThan(1)
    await client.send(`${client.frames.at(-1)?.split(' ')[0]} nak\n`)
    expect((await ended)[1]).toBe('SIGBUS')
    await client.ended
    await reading
    expect(client.frames.at(-1)).toMatch(/^0 fatal: .*'nak'/)
    await client.close()
  })

  test.each([
    ['zzz hello\n', '0 error: invalid frame: "zzz hello\\n" (invalid stream)'],
    ['2 ack\n', '0 error: unexpected reply: "2 ack"'],
    [`1 ${'x'.repeat(5000)}`, '0 error: a frame is too long'],
  ])('the link of a client that sends %j ends, and the client lives', async (frame, told) => {
    const paths = await wcfsPaths(tiny.path)
    const { pid } = victim()
    const client = await Client.open(paths, pid)
    await client.send(frame)
    await client.ended
    expect(client.frames.at(-1)).toBe(told)
    await client.close()
    expect(process.kill(pid, 0)).toBe(true)
  })

  test('a client that goes away holds no moment and delays no read', async () => {
    const database = new GrowingFile(LAST - 1)
    const paths = await wcfsPaths(database.path)
    const client = await Client.open(paths)
    client.isMute = true
    expect(await client.watch(`@${atOf(LAST - 1)}`)).toBe('ok')
    database.append(LAST)
    await paths.read('head/at')
    const reading = paths.read(`head/bigfile/${FILE_B}`)
    await expect.poll(() => client.frames.length).toBeGreaterThan(1)
    await client.close()
    await reading
    expect(await paths.zodb.lookup(ROOT_INO, toName(`@${atOf(LAST - 1)}`))).toBeDefined()
  })
})

describe('a mount with -o layout=wcfs', () => {
  const mounts: string[] = []
  afterEach(async () => {
    for (const dir of mounts.splice(0)) {
      await runZblkfs('umount', dir)
      await runProgram('umount', ['-l', dir])
    }
  })

  test('a client that maps a file reads one transaction until it moves on', async () => {
    const database = new GrowingFile(1)
    const dir = join(temporaryDirectory(), 'mnt')
    mkdirSync(dir)
    mounts.push(dir)
    expect(await runZblkfs('mount', '-o', 'layout=wcfs', database.path, dir)).toMatchObject({
      exitCode: 0,
      stderr: '',
    })
    expect(readdirSync(dir).sort()).toEqual(['.wcfs', 'head'])
    const { blksize } = files['B']!
    const client = spawn('python3', [
      join(import.meta.dirname, 'wcfs-client.py'),
      dir,
      FILE_B,
      String(blksize),
    ])
    onTestFinished(() => void client.kill('SIGKILL'))
    client.stderr.pipe(process.stderr)
    const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]()
    const ask = async (command: string): Promise<string> => {
      client.stdin.write(`${command}\n`)
      return (await lines.next()).value ?? ''
    }
    const read = async (count: number): Promise<unknown> => JSON.parse(await ask(`read ${count}`))
    expect(await ask(`watch @${atOf(1)}`)).toBe('ok')
    expect(await read(stateOf(1).length)).toEqual(stateOf(1))
    for (let txn = 2; txn <= LAST; txn++) {
      database.append(txn)
      expect(await ask(`head ${atOf(txn)}`)).toBe('ok')
      expect(await read(stateOf(txn - 1).length), `before ${txn}`).toEqual(stateOf(txn - 1))
      expect(await ask(`watch @${atOf(txn)}`)).toBe('ok')
      expect(await read(stateOf(txn).length), `after ${txn}`).toEqual(stateOf(txn))
    }
    client.stdin.end()
    await once(client, 'exit')
  })

  test('a database that is not of ZODB is refused, and none is created', async () => {
    const directory = temporaryDirectory()
    mkdirSync(join(directory, 'mnt'))
    const { exitCode, stderr } = await runZblkfs(
      'mount',
      '-o',
      'layout=wcfs',
      join(directory, 'new'),
      join(directory, 'mnt'),
    )
    expect(exitCode).toBe(1)
    expect(stderr).toContain('new')
    expect(readdirSync(directory)).toEqual(['mnt'])
  })
})
