/** `zblkfs serve`, used by clients of other projects: qemu-io, nbdinfo, diodcat, cadaver, rclone, and by fetch. Longer than 400 lines: the protocols share the server and its set-up. */
/* oxlint-disable max-lines -- see above */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import {
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { open } from '../../../index.ts'
import { withMount } from '../../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../../tools/run-zblkfs.ts'

const has = async (program: string): Promise<boolean> =>
  (await runProgram('sh', ['-c', `PATH=$PATH:/usr/sbin command -v ${program}`])).exitCode === 0
const [hasQemu, hasNbdinfo, hasDiod, hasCadaver, hasRclone] = await Promise.all(
  ['qemu-io', 'nbdinfo', 'diodcat', 'cadaver', 'rclone'].map(has),
)

let scratch: string
let db: string
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'zblkfs-serve-'))
  db = join(scratch, 'data.zblk')
  const database = await open(db, { create: true })
  await database.files.writeFile('/hello', 'old')
  await database.tag('v1')
  await database.files.writeFile('/hello', 'hello')
  await database.files.mkdir('/dir')
  await database.files.writeFile('/disk', '')
  await database.files.truncate('/disk', 4 << 20)
  await database.close()
})
afterEach(async () => {
  await rm(scratch, { recursive: true, force: true })
})

/** Runs `zblkfs serve` while `body` uses it; resolves to all of its output. */
async function whileServing(
  parameters: readonly string[],
  body: (line: string, server: ChildProcess) => Promise<void>,
): Promise<string> {
  const server = spawn(ZBLKFS, ['serve', ...parameters], { stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = once(server, 'exit')
  let output = ''
  server.stderr.setEncoding('utf8').on('data', (text: string) => (output += text))
  const served = new Promise<void>((resolve, reject) => {
    server.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (output.includes('\n')) resolve()
    })
    server.once('exit', () => reject(new Error(`it ended: ${output}`)))
  })
  try {
    await served
    await body(output, server)
  } finally {
    server.kill('SIGTERM')
    await exited
  }
  return output
}

describe('over NBD', () => {
  test.runIf(hasQemu)('qemu reads and writes a file, and what it wrote is stored', async () => {
    const socket = join(scratch, 'nbd.sock')
    const uri = `nbd+unix:///disk?socket=${socket}`
    const output = await whileServing([db, '--nbd', 'disk', '--listen', socket], async line => {
      expect(line).toBe(`disk is served at ${uri}\n`)
      expect((await stat(socket)).mode & 0o777).toBe(0o600)
      const commands = [
        'write -P 0x5a 1M 2M',
        'discard 1M 1M',
        'write -z 2M 64k',
        'read -P 0x5a 2112k 960k',
        'read -P 0 0 2112k',
        'flush',
      ]
      const result = await runProgram('qemu-io', [
        '-f',
        'raw',
        ...commands.flatMap(command => ['-c', command]),
        uri,
      ])
      expect(result.stdout).not.toContain('failed')
      expect(result.exitCode).toBe(0)
      const beyond = await runProgram('qemu-io', ['-f', 'raw', '-c', 'read 3M 2M', uri])
      expect(beyond.stdout + beyond.stderr).toContain('failed')
      if (hasNbdinfo) {
        const map = await runProgram('nbdinfo', ['--map', uri])
        expect(map.stdout.replaceAll(/ +/g, ' ')).toMatch(
          /^ 0 2162688 3 hole,zero\n 2162688 983040 0 data\n 3145728 1048576 3 hole,zero\n$/,
        )
        const list = await runProgram('nbdinfo', ['--list', `nbd+unix:///?socket=${socket}`])
        expect(list.stdout).toContain('export="disk"')
        expect((await runProgram('nbdinfo', [uri.replace('disk', 'none')])).stderr).toMatch(/No such file/)
      }
    })
    expect(output).toContain('is no longer served, all is stored')
    const database = await open(db, { readOnly: true })
    const bytes = await database.files.readFile('/disk')
    await database.close()
    expect(bytes.subarray(2112 << 10, 3 << 20).every(byte => byte === 0x5a)).toBe(true)
    expect(bytes).toHaveLength(4 << 20)
  })

  test.runIf(hasQemu)('a file of a mount, and a moment of it, read-only', async () => {
    await withMount({ driver: 'kernel' }, async ({ dir }) => {
      await writeFile(join(dir, 'image'), 'a'.repeat(4096))
      await runZblkfs('tag', 'v1', '--db', dir)
      await truncate(join(dir, 'image'), 8192)
      const socket = join(scratch, 'nbd.sock')
      const uri = `nbd+unix:///?socket=${socket}`
      await whileServing(['--nbd', join(dir, 'image'), '--listen', socket], async () => {
        expect((await runProgram('qemu-io', ['-f', 'raw', '-c', 'write -P 0x62 4k 4k', uri])).exitCode).toBe(
          0,
        )
        expect(await readFile(join(dir, 'image'), 'utf8')).toBe('a'.repeat(4096) + 'b'.repeat(4096))
      })
      await whileServing(['--nbd', join(dir, '@v1/image'), '--listen', socket], async () => {
        const read = await runProgram('qemu-io', [
          '-r',
          '-f',
          'raw',
          '-c',
          'read -P 0x61 0 4k',
          '-c',
          'length',
          uri,
        ])
        expect(read.stdout).toMatch(/4 KiB, 1 ops[^]*4 KiB/)
        expect((await runProgram('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', uri])).stderr).toMatch(
          /Permission denied|read-only/i,
        )
      })
    })
  })

  test('bytes that violate the protocol end that connection only', async () => {
    let silent: Socket | undefined
    const socket = join(scratch, 'nbd.sock')
    await whileServing([db, '--nbd', 'disk', '--listen', socket], async () => {
      for (const bytes of [
        Buffer.alloc(100),
        Buffer.alloc(1 << 20, 0xff),
        Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      ]) {
        const client = connect(socket)
        const closed = new Promise(resolve => client.once('close', resolve))
        client.on('error', () => undefined).resume()
        client.end(bytes)
        await closed
      }
      // A client that does not read keeps the server from nothing, its end included.
      silent = connect(socket).pause()
      silent.on('error', () => undefined)
      silent.write(Buffer.alloc(1 << 20))
      const client = connect(socket)
      const [greeting] = (await once(client, 'data')) as [Buffer]
      expect(greeting.toString('latin1', 0, 8)).toBe('NBDMAGIC')
      client.destroy()
    })
    silent?.destroy()
  })
})

test.runIf(hasDiod)('over 9P, libnpclient lists and reads the tree, and a moment', async () => {
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` }
  await whileServing([db, '--9p', '--listen', '15641'], async line => {
    expect(line).toContain('mount -t 9p -o trans=tcp,port=15641,version=9p2000.L 127.0.0.1 DIR')
    const run = async (program: string, ...parameters: readonly string[]): Promise<string> =>
      (await runProgram('env', [`PATH=${env.PATH}`, program, '-s', '127.0.0.1:15641', ...parameters])).stdout
    expect((await run('diodls', '-a', '/', '.')).split('\n').sort()).toEqual(['', 'dir', 'disk', 'hello'])
    expect(await run('diodcat', '-a', '/', 'hello')).toBe('hello')
    expect(await run('diodcat', '-a', '@v1', 'hello')).toBe('old')
  })
})

describe('over WebDAV', () => {
  const call = async (url: string, method: string, init: RequestInit = {}): Promise<Response> =>
    await fetch(url, { method, ...init })

  test('asks for the password, and supports the requests of a desktop', async () => {
    await writeFile(join(scratch, 'password'), 'secret\n')
    const parameters = [db, '--webdav', '--listen', '18081', '--password-file', join(scratch, 'password')]
    const root = 'http://127.0.0.1:18081'
    await whileServing(parameters, async line => {
      expect(line).toBe(`served at ${root}/\n`)
      expect((await fetch(`${root}/hello`)).status).toBe(401)
      const headers = { authorization: `Basic ${btoa('any:secret')}` }
      const status = async (path: string, method: string, extra: RequestInit = {}): Promise<number> => {
        const answer = await call(`${root}${path}`, method, {
          ...extra,
          headers: { ...headers, ...(extra.headers as object) },
        })
        await answer.arrayBuffer()
        return answer.status
      }
      expect(await (await fetch(`${root}/hello`, { headers })).text()).toBe('hello')
      const part = await fetch(`${root}/hello`, { headers: { ...headers, range: 'bytes=1-2' } })
      expect([part.status, await part.text()]).toEqual([206, 'el'])
      expect(await (await fetch(`${root}/@v1/hello`, { headers })).text()).toBe('old')
      expect(await status('/a%20%C3%A4%23', 'PUT', { body: 'x'.repeat(100_000) })).toBe(201)
      expect(await status('/a%20%C3%A4%23', 'PUT', { body: 'y' })).toBe(204)
      expect(await status('/none/x', 'PUT', { body: 'y' })).toBe(409)
      expect(await status('/new', 'PUT', { body: 'y', headers: { 'if-match': '*' } })).toBe(412)
      expect(await status('/col', 'MKCOL')).toBe(201)
      expect(await status('/col', 'MKCOL')).toBe(405)
      expect(await status('/hello', 'COPY', { headers: { destination: `${root}/col/copy` } })).toBe(201)
      expect(
        await status('/hello', 'COPY', { headers: { destination: `${root}/col/copy`, overwrite: 'F' } }),
      ).toBe(412)
      expect(await status('/col', 'COPY', { headers: { destination: `${root}/col/in` } })).toBe(409)
      expect(await status('/col', 'MOVE', { headers: { destination: `${root}/moved` } })).toBe(201)
      expect(await status('/col', 'GET')).toBe(404)
      // A move that fails leaves its destination as it was.
      const fromPast = await status('/@v1/hello', 'MOVE', { headers: { destination: `${root}/moved` } })
      expect(fromPast).toBeGreaterThanOrEqual(400)
      expect(await status('/moved/copy', 'GET')).toBe(200)
      expect(await status('/..%2fetc', 'GET')).toBe(400)
      const found = await call(`${root}/moved`, 'PROPFIND', {
        headers: { ...headers, depth: '1' },
        body: '<?xml version="1.0"?><a:propfind xmlns:a="DAV:"><a:prop><a:getcontentlength/><z:other xmlns:z="urn:z"/></a:prop></a:propfind>',
      })
      const xml = await found.text()
      expect(found.status).toBe(207)
      expect(xml).toContain(
        '<D:href>/moved/copy</D:href><D:propstat><D:prop><D:getcontentlength>5</D:getcontentlength></D:prop>',
      )
      expect(xml).toContain('<x:other xmlns:x="urn:z"/></D:prop><D:status>HTTP/1.1 404 Not Found')
      expect(await status('/moved', 'PROPFIND', { body: '<a', headers: { depth: '0' } })).toBe(400)

      const locked = await call(`${root}/hello`, 'LOCK', {
        headers,
        body: '<D:lockinfo xmlns:D="DAV:"><D:owner>me</D:owner></D:lockinfo>',
      })
      const token = locked.headers.get('lock-token') ?? ''
      expect(await status('/hello', 'PUT', { body: 'z' })).toBe(423)
      expect(await status('/hello', 'PUT', { body: 'z', headers: { if: `(${token})` } })).toBe(204)
      expect(await status('/hello', 'UNLOCK', { headers: { 'lock-token': token } })).toBe(204)
      expect(await status('/moved', 'DELETE')).toBe(204)
      expect(await status('/', 'DELETE')).toBe(403)
    })
    const database = await open(db, { readOnly: true })
    expect((await database.files.readdir('/')).sort()).toEqual(['a ä#', 'dir', 'disk', 'hello'])
    expect(await database.files.readFile('/a ä#', { encoding: 'utf8' })).toBe('y')
    await database.close()
  })

  test('an interrupted upload leaves the file unchanged', async () => {
    await whileServing([db, '--webdav', '--listen', '18082', '--no-password'], async () => {
      const client = connect(18_082, '127.0.0.1')
      client.on('error', () => undefined)
      client.write('PUT /hello HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\npart')
      setTimeout(() => client.destroy(), 300)
      await once(client, 'close')
      expect(await (await fetch('http://127.0.0.1:18082/hello')).text()).toBe('hello')
      const other = connect(18_082, '127.0.0.1')
      other.write('GET /hello HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n')
      const [answer] = (await once(other, 'data')) as [Buffer]
      expect(answer.toString()).toMatch(/^HTTP\/1.1 421 /)
      other.destroy()
    })
    const database = await open(db, { readOnly: true })
    expect((await database.files.readdir('/')).sort()).toEqual(['dir', 'disk', 'hello'])
    await database.close()
  })

  test('an upload to a server that is killed leaves nothing', async () => {
    const upload = async (server: ChildProcess, port: number): Promise<void> => {
      const client = connect(port, '127.0.0.1')
      client.on('error', () => undefined)
      client.write('PUT /hello HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3000000\r\n\r\n')
      client.write(Buffer.alloc(2_000_000))
      // What has arrived is stored.
      await sleep(1500)
      server.kill('SIGKILL')
      await once(client, 'close')
    }
    const parameters = ['--webdav', '--listen', '18084', '--no-password']
    await whileServing([db, ...parameters], (_line, server) => upload(server, 18_084))
    const database = await open(db)
    expect((await database.files.readdir('/')).sort()).toEqual(['dir', 'disk', 'hello'])
    expect(await database.files.readFile('/hello', 'utf8')).toBe('hello')
    await database.close()
    const check = await runZblkfs('fsck', db)
    expect(check.stdout).not.toMatch(/reach/)
    expect(check.exitCode).toBe(0)
    await withMount({ driver: 'kernel' }, async ({ dir }) => {
      await writeFile(join(dir, 'hello'), 'hello')
      await whileServing([dir, ...parameters], (_line, server) => upload(server, 18_084))
      expect(await readdir(dir)).toEqual(['hello'])
      expect(await readFile(join(dir, 'hello'), 'utf8')).toBe('hello')
      // What the kernel has cached of a replaced file is dropped.
      await whileServing([dir, ...parameters], async () => {
        await link(join(dir, 'hello'), join(dir, 'other'))
        await fetch('http://127.0.0.1:18084/hello', { method: 'PUT', body: 'replaced' })
        expect(await readFile(join(dir, 'hello'), 'utf8')).toBe('replaced')
        expect((await stat(join(dir, 'other'))).nlink).toBe(1)
      })
    })
  })

  test('a client that disconnects during an answer causes no error in the log', async () => {
    const database = await open(db)
    await database.files.truncate('/disk', 256 << 20)
    await database.close()
    const output = await whileServing([db, '--webdav', '--listen', '18085', '--no-password'], async () => {
      const { body } = await fetch('http://127.0.0.1:18085/disk')
      await body?.cancel()
      await sleep(300)
    })
    expect(output).not.toContain('error')
  })

  test.runIf(hasRclone)('rclone copies, compares, renames and removes a tree', async () => {
    const source = join(scratch, 'source')
    await mkdir(join(source, 'ünï dir'), { recursive: true })
    for (const [name, text] of [
      ['ünï dir/a #%', 'one'],
      ['b', 'x'.repeat(3_000_000)],
      ['empty', ''],
    ] as const)
      await writeFile(join(source, name), text)
    const remote = ":webdav,url='http://127.0.0.1:18086/':sub/"
    const rclone = async (...parameters: readonly string[]): Promise<string> => {
      const { stdout, stderr } = await runProgram('rclone', ['--config', '/dev/null', ...parameters])
      return stdout + stderr
    }
    await whileServing([db, '--webdav', '--listen', '18086', '--no-password'], async () => {
      expect(await rclone('copy', source, remote)).toBe('')
      expect(await rclone('check', '--download', source, remote)).toContain('3 matching files')
      await rename(join(source, 'b'), join(source, 'c'))
      await rm(join(source, 'empty'))
      expect(await rclone('sync', source, remote)).toBe('')
      expect(await rclone('moveto', `${remote}c`, `${remote}ünï dir/moved`)).toBe('')
      expect((await rclone('lsf', '-R', remote)).split('\n').toSorted()).toEqual([
        '',
        'ünï dir/',
        'ünï dir/a #%',
        'ünï dir/moved',
      ])
      expect(await rclone('cat', ":webdav,url='http://127.0.0.1:18086/@v1':hello")).toBe('old')
      expect(await rclone('purge', `${remote}ünï dir`)).toBe('')
    })
  })

  test.runIf(hasCadaver)('cadaver puts, copies, locks and removes; a moment is read-only', async () => {
    const root = 'http://127.0.0.1:18083/'
    const cadaver = async (commands: string): Promise<string> => {
      await writeFile(join(scratch, 'commands'), `${commands}\nquit\n`)
      return (
        await runProgram('sh', ['-c', `cd '${scratch}' && HOME='${scratch}' cadaver ${root} < commands 2>&1`])
      ).stdout
    }
    await writeFile(join(scratch, 'local'), 'from here')
    await whileServing([db, '--webdav', '--listen', '18083', '--no-password'], async () => {
      const output = await cadaver(
        'put local remote\nmkcol col\ncopy remote col/copy\nmove remote col/moved\nlock col/copy\nunlock col/copy\ndelete col/copy\nls col\nget hello got',
      )
      expect(output).not.toContain('failed')
      expect(output).toMatch(/moved +9 /)
      expect(readFileSync(join(scratch, 'got'), 'utf8')).toBe('hello')
    })
    await whileServing([db, '--webdav', '--listen', '18083', '--no-password', '--at', 'v1'], async () => {
      expect(await cadaver('cat hello\nput local remote')).toMatch(/old[^]*403 Forbidden/)
    })
  })
})

test.each([
  [[], /name one of --nbd FILE, --9p and --webdav/],
  [['--webdav', '--9p', 'x'], /name one of/],
  [['--9p', '--no-password', 'x'], /only WebDAV has passwords/],
  [['--9p', '--listen', 'nowhere', 'DB'], /--listen nowhere is not a place/],
])('serve %j is a usage error', async (parameters, message) => {
  await mkdir(join(scratch, 'unused'))
  const result = await runZblkfs(
    'serve',
    ...parameters.map(parameter => (parameter === 'DB' ? db : parameter)),
  )
  expect(result.stderr).toMatch(message)
  expect(result.exitCode).toBe(2)
})

test('a missing file and an address in use are reported', async () => {
  const none = await runZblkfs('serve', db, '--nbd', 'none')
  expect(none).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/ENOENT: .*'\/none'/) })
  await whileServing([db, '--webdav', '--listen', '18084'], async () => {
    const second = await runZblkfs('serve', db, '--webdav', '--listen', '18084', '--read-only')
    expect(second.stderr).toContain('127.0.0.1:18084 cannot be listened at: it is used already')
    expect(second.exitCode).toBe(1)
  })
})
