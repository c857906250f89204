/** A program that opens a database which a daemon has mounted works through the daemon, and the mount shows what it does. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { open as openFile, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { open, type Database } from '../../../index.ts'
import { controlPaths } from '../../../mount/daemon/control-path.ts'
import { callDaemon } from '../../../mount/daemon/control-protocol.ts'
import { ownerOf } from '../../../mount/daemon/mounts.ts'
import { mountedAt } from '../../../mount/mount-points/mount-table.ts'
import { withMount, type TestMount } from '../../tools/mounted.ts'

const run = promisify(execFile)
const TIMEOUT_MS = 60_000
const driver = 'kernel'

async function withBoth(work: (db: Database, mount: TestMount) => Promise<void>): Promise<void> {
  await withMount({ driver }, async mount => {
    const db = await open(mount.db)
    try {
      await work(db, mount)
    } finally {
      await db.close()
    }
  })
}

/** What a process sees in the mount; not this one, whose own caches would count. */
const cat = async (path: string): Promise<string> =>
  (await run('cat', [path], { timeout: TIMEOUT_MS })).stdout

test('each sees the writes of the other at once', { timeout: TIMEOUT_MS }, async () => {
  await withBoth(async (db, { dir }) => {
    await writeFile(join(dir, 'a'), 'by the mount')
    expect(await db.files.readFile('/a', 'utf8')).toBe('by the mount')
    expect(await cat(join(dir, 'a'))).toBe('by the mount')
    await db.files.writeFile('/a', 'by the program, longer')
    expect(await cat(join(dir, 'a'))).toBe('by the program, longer')
    expect((await stat(join(dir, 'a'))).size).toBe(22)
    const file = await db.files.open('/a', 'r+')
    await file.write(Buffer.from('BY'), 0, 2, 0)
    expect(await cat(join(dir, 'a'))).toBe('BY the program, longer')
    await file.truncate(2)
    expect(await cat(join(dir, 'a'))).toBe('BY')
    await file.close()
  })
})

test(
  'neither overwrites what the other appends to a file that it has open',
  { timeout: TIMEOUT_MS },
  async () => {
    await withBoth(async (db, { dir }) => {
      const path = join(dir, 'log')
      // It begins to append after it has opened the file.
      const late = spawn('python3', ['-u', '-c', APPEND_BY_FCNTL, path], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      await once(late.stdout, 'data')
      const file = await openFile(path, 'a')
      const program = await db.files.open('/log', 'a')
      const wanted: string[] = []
      for (let round = 0; round < 20; round++) {
        await file.appendFile(`kernel ${round}\n`)
        await program.write(Buffer.from(`program ${round}, longer\n`))
        late.stdin.write(`late ${round}\n`)
        await once(late.stdout, 'data')
        wanted.push(`kernel ${round}`, `program ${round}, longer`, `late ${round}`)
        expect((await cat(path)).trimEnd().split('\n')).toEqual(wanted)
      }
      await Promise.all([
        ...wanted.map(() => file.write('k')),
        ...wanted.map(() => program.write(Buffer.from('p'))),
      ])
      late.stdin.end()
      await file.close()
      await program.close()
      const tail = (await cat(path)).slice(wanted.join('\n').length + 1)
      expect(tail.split('').sort().join('')).toBe('k'.repeat(wanted.length) + 'p'.repeat(wanted.length))
    })
  },
)

const APPEND_BY_FCNTL = `
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
print('ready')
for line in sys.stdin:
    os.write(fd, line.encode())
    print('written')
`

test(
  'names cached by the kernel, present or absent, follow changes of the program',
  { timeout: TIMEOUT_MS },
  async () => {
    await withBoth(async (db, { dir }) => {
      expect(existsSync(join(dir, 'made'))).toBe(false)
      await db.files.mkdir('/made')
      await db.files.writeFile('/made/f', 'x')
      expect(await readdir(join(dir, 'made'))).toEqual(['f'])
      await db.files.link('/made/f', '/second')
      expect((await stat(join(dir, 'second'))).nlink).toBe(2)
      await db.files.rename('/made/f', '/moved')
      expect(existsSync(join(dir, 'made', 'f'))).toBe(false)
      expect(await cat(join(dir, 'moved'))).toBe('x')
      await db.files.unlink('/second')
      expect(existsSync(join(dir, 'second'))).toBe(false)
      expect((await stat(join(dir, 'moved'))).nlink).toBe(1)
      await db.files.chmod('/moved', 0o600)
      expect((await stat(join(dir, 'moved'))).mode & 0o777).toBe(0o600)
      await db.files.rm('/made', { recursive: true })
      expect(await readdir(dir)).toEqual(['moved'])
    })
  },
)

test('a transaction of the program is atomic in the mount too', { timeout: TIMEOUT_MS }, async () => {
  await withBoth(async (db, { dir }) => {
    await db.files.writeFile('/a', 'before')
    expect(await cat(join(dir, 'a'))).toBe('before')
    const failed = db.transaction(async tx => {
      await tx.writeFile('/a', 'during')
      await tx.writeFile('/b', 'new')
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    expect(await cat(join(dir, 'a'))).toBe('before')
    expect(existsSync(join(dir, 'b'))).toBe(false)
    await db.transaction(tx => tx.writeFile('/b', 'new'), { message: 'one step' })
    for await (const { message } of db.log({ limit: 1 })) expect(message).toBe('one step')
    expect(await cat(join(dir, 'b'))).toBe('new')
  })
})

test('tags, restores and clones go through the daemon', { timeout: TIMEOUT_MS }, async () => {
  await withBoth(async (db, { dir }) => {
    await db.files.writeFile('/a', 'one')
    await db.sync()
    await db.tag('v1')
    await db.files.writeFile('/a', 'two')
    await db.sync()
    await db.restore('/a', 'v1')
    expect(await cat(join(dir, 'a'))).toBe('one')
    await db.clone('/a', '/b')
    expect(await cat(join(dir, 'b'))).toBe('one')
    expect(await db.at('v1').readFile('/a', 'utf8')).toBe('one')
  })
})

test('open files of a program are closed when it dies', { timeout: TIMEOUT_MS }, async () => {
  await withMount({ driver }, async ({ db, dir }) => {
    await writeFile(join(dir, 'a'), 'x')
    const program = `
      const { open } = await import(${JSON.stringify(new URL('../../../index.ts', import.meta.url).href)})
      const db = await open(${JSON.stringify(db)})
      await db.files.open('/a', 'r+')
      await db.files.unlink('/a')
      process.kill(process.pid, 'SIGKILL')`
    await run(process.execPath, ['--input-type=module', '-e', program]).catch(() => undefined)
    const usage = async (): Promise<unknown> =>
      (JSON.parse(await readFile(join(dir, '.zblkfs', 'stats'), 'utf8')) as { inodesInUse: number })
        .inodesInUse
    await expect.poll(usage, { timeout: 10_000 }).toBe(1)
  })
})

test(
  'the death of the daemon fails operations in progress, without hangs',
  { timeout: TIMEOUT_MS },
  async () => {
    await withMount({ driver }, async mount => {
      const db = await open(mount.db)
      await db.files.writeFile('/a', 'x')
      await mount.kill()
      await expect(db.files.readFile('/a')).rejects.toMatchObject({ code: 'daemon-gone' })
      await expect(db.close()).rejects.toMatchObject({ code: 'daemon-gone' })
    })
  },
)

test(
  'the daemon closes a connection that sends anything but operations',
  { timeout: TIMEOUT_MS },
  async () => {
    await withMount({ driver }, async ({ dir }) => {
      const mount = mountedAt(dir)!
      const paths = await controlPaths(mount.device, ownerOf(mount))
      const header = (value: unknown): Buffer => {
        const text = Buffer.from(JSON.stringify(value))
        const prefix = Buffer.alloc(8)
        prefix.writeUInt32LE(text.length, 0)
        return Buffer.concat([prefix, text])
      }
      const bad = [
        Buffer.from('not a frame at all, and longer than eight bytes'),
        header({ id: 1, operation: 'lookup', parameters: [1, '../..', { uid: 0, gid: 0, pid: 1 }] }),
        header({ id: 1, operation: 'attach', parameters: [] }),
        header({ id: 1, operation: 'read', parameters: [1, 0, { $n: '0' }, 1e9] }),
        header({ id: 1, operation: 'write', parameters: [1, 0, { $n: '0' }, { $b: 99 }] }),
        header([]),
      ]
      for (const bytes of bad) {
        const socket = connect(paths[0]!)
        socket.write('{"call":"operations","parameters":{}}\n')
        socket.once('data', () => socket.write(bytes))
        await new Promise(resolve => socket.once('close', resolve))
      }
      expect((await callDaemon(paths, 'status', {}, TIMEOUT_MS)).directory).toBe(dir)
    })
  },
)
